// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "evidence/records.h"
#include "host/cgroups.h"
#include "host/mounts.h"

namespace stallscope::census {

/// A directory of the hierarchy.
struct VisibleCgroup {
  /// As it can be opened, without the injected root.
  std::string path;
  /// Inode number of the directory, which is the kernel's id of the cgroup.
  std::uint64_t inode = 0;
  std::int64_t descendant_count = 0;
  /// When the directory changed last (CLOCK_REALTIME): it was made then or before. 0: not known.
  std::int64_t changed_ns = 0;
};

/// The kernel's own counts. Nothing where a count is not known; each such case has its gap.
struct MemcgCounts {
  host::CgroupHierarchy hierarchy;
  std::optional<std::int64_t> total;
  std::optional<std::int64_t> dying;
  std::optional<std::int64_t> visible;
  /// Root first, parents before their children.
  std::vector<VisibleCgroup> cgroups;
  std::vector<evidence::GapRecord> gaps;
};

/// num_cgroups of the memory row of /proc/cgroups: live and dying cgroups of the hierarchy, root included. Nothing when the row is
/// missing, as it can be since Linux 6.12 (af000ce85293), or the controller is disabled.
[[nodiscard]] std::optional<std::int64_t> memory_cgroup_total(std::string_view proc_cgroups);

/// A row of cgroup.stat, a cgroup v2 file.
[[nodiscard]] std::optional<std::int64_t> cgroup_stat_value(std::string_view cgroup_stat, std::string_view name);

/// Reads /proc/self/mountinfo, /proc/cgroups, the root's cgroup.stat (v2) and the hierarchy's directories, at most 200,000 of
/// them; blocks for that. Needs no privileges. Every path is taken below `root`.
[[nodiscard]] MemcgCounts count_memcgs(const std::string& root, const std::vector<host::Mount>& mounts);

}  // namespace stallscope::census
