// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "host/mounts.h"

namespace stallscope::lab {

enum class CgroupVersion : std::uint8_t { v1, v2 };

/// Where this machine keeps its memory cgroups. On a hybrid machine the memory controller is either in a v1 hierarchy or in the
/// v2 one, never in both.
struct MemoryHierarchy {
  CgroupVersion version = CgroupVersion::v1;
  std::string mount_path;

  /// The one memory cgroup the lab makes; all others of the lab are below it.
  [[nodiscard]] std::string lab_cgroup() const { return mount_path + "/stallscope-lab"; }
  /// Holds the process that reads memory.stat, and nothing else.
  [[nodiscard]] std::string reader_cgroup() const { return lab_cgroup() + "/reader"; }
  /// The same for a fault that needs no more of cgroups than a name: CulpritCgroup.
  [[nodiscard]] std::string culprit_cgroup() const { return lab_cgroup() + "/culprit"; }
};

/// The hierarchy the memory controller is mounted in: a v1 mount with the option "memory", else the v2 mount.
[[nodiscard]] base::Result<MemoryHierarchy> choose_memory_hierarchy(const std::vector<host::Mount>& mounts);

/// The same for this machine; on v2 it also checks that the memory controller is there and given to the children of the root.
[[nodiscard]] base::Result<MemoryHierarchy> find_memory_hierarchy();

/// num_cgroups of the memory controller in the text of /proc/cgroups: live and dying cgroups, the root included.
[[nodiscard]] base::Result<std::int64_t> parse_v1_count(std::string_view proc_cgroups);
/// 1 + nr_descendants + nr_dying_descendants of the text of the root's cgroup.stat: live and dying, the root included.
[[nodiscard]] base::Result<std::int64_t> parse_v2_count(std::string_view cgroup_stat);

/// The kernel's own count of memory cgroups, live and dying, the root included.
[[nodiscard]] base::Result<std::int64_t> count_memory_cgroups(const MemoryHierarchy& hierarchy);

}  // namespace stallscope::lab
