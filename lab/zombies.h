// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "lab/memory_hierarchy.h"
#include "lab/pins.h"
#include "lab/progress.h"
#include "lab/stop_signals.h"

namespace stallscope::lab {

/// Memory cgroup IDs have 16 bits (MEM_CGROUP_ID_MAX, mm/memcontrol.c); the bound leaves some to the machine.
inline constexpr int max_zombies_count = 60'000;

struct ZombieRemoval {
  bool found = false;
  /// Zombies that were let go.
  std::int64_t zombies_count = 0;
  /// Memory cgroups that the kernel still counts above what is expected once the bounded wait was over; 0 when all are gone.
  /// Others that make cgroups meanwhile are counted too.
  std::int64_t lingering_count = 0;
};

/// Removes all cgroups of the lab and what pins them, whoever left them. A file is cut a little at a time, because the kernel
/// frees what one cut releases in one go. Blocks until the kernel's own count is back, for seconds at most.
[[nodiscard]] base::Result<ZombieRemoval> remove_zombies(const MemoryHierarchy& hierarchy, const PinPlace& place);

/// Owns memory cgroups that are removed but not gone, because something that outlives them is charged to each.
class ZombieSet {
 public:
  enum class Directories : std::uint8_t { remove, keep };

  /// Makes the lab's cgroup, `count` zombies below it and an empty cgroup for the reader. Takes about 0.2 ms per zombie and ends
  /// early, with an error, when a stop is asked for. Nothing of an earlier lab may be left. With Directories::keep they stay
  /// live cgroups until remove_directories().
  [[nodiscard]] static base::Result<ZombieSet> make(const MemoryHierarchy& hierarchy, const PinPlace& place, int count,
                                                    Directories directories, StopSignals& stop, const Progress& progress);
  ~ZombieSet();
  ZombieSet(ZombieSet&& other) noexcept;
  ZombieSet& operator=(ZombieSet&&) = delete;
  ZombieSet(const ZombieSet&) = delete;
  ZombieSet& operator=(const ZombieSet&) = delete;

  /// Ends early, with an error, when a stop is asked for.
  [[nodiscard]] base::Status remove_directories(StopSignals& stop, const Progress& progress) const;
  [[nodiscard]] base::Result<ZombieRemoval> remove();

 private:
  ZombieSet(MemoryHierarchy hierarchy, PinPlace place, int count)
      : hierarchy_(std::move(hierarchy)), place_(std::move(place)), count_(count) {}

  MemoryHierarchy hierarchy_;
  PinPlace place_;
  int count_ = 0;
  bool owned_ = true;
};

}  // namespace stallscope::lab
