// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "base/result.h"
#include "lab/memory_hierarchy.h"
#include "lab/pins.h"
#include "lab/progress.h"
#include "lab/stop_signals.h"

// What the users of many zombies share: where to make them, telling of it, and removing them.
namespace stallscope::lab {

struct ZombiePlaces {
  MemoryHierarchy hierarchy;
  PinPlace pins;
};

[[nodiscard]] base::Result<ZombiePlaces> find_zombie_places(PinKind kind = PinKind::tmpfs);

/// Makes `zombies_count` zombies, calls `body` with where they are and how many memory cgroups the kernel counts then, and removes
/// them whatever came of it. An error where the kernel does not keep them.
[[nodiscard]] base::Status with_zombies(int zombies_count, StopSignals& stop, const Progress& progress,
                                        const std::function<base::Status(const ZombiePlaces&, std::int64_t total_count)>& body);

/// Moments at which the machine is to be looked at.
enum class ZombieStage : std::uint8_t { before, made, removed, cleaned };

struct ZombieShow {
  PinKind pin = PinKind::tmpfs;
  int zombies_count = 0;
  /// Whether the zombies stay until a stop is asked for.
  bool hold = false;
};

/// Makes that many live cgroups, something charged to each, removes their directories, waits until the kernel has freed what
/// nothing pins, holds, cleans up, and calls `look` at each stage. Refuses before anything is made what the machine has no room
/// for. Whatever ends it, nothing stays.
[[nodiscard]] base::Status show_zombies(const ZombieShow& show, StopSignals& stop, const Progress& progress,
                                        const std::function<base::Status(ZombieStage, const ZombiePlaces&)>& look);

/// Removes those of a killed run; says whether there were any.
[[nodiscard]] base::Result<bool> remove_leftover_zombies(const Progress& progress);

}  // namespace stallscope::lab
