// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "host/cgroups.h"
#include "host/file_tree.h"

// How much CPU time a cgroup may use, and how often it was stopped for having used it (CFS bandwidth control,
// kernel/sched/fair.c and core.c).
namespace stallscope::host {

struct CpuQuota {
  /// CPU time per period, over all CPUs.
  std::int64_t quota_ns = 0;
  std::int64_t period_ns = 0;

  friend bool operator==(const CpuQuota&, const CpuQuota&) = default;
};

/// Since the cgroup was made. Periods count while something in it runs.
struct ThrottleCounts {
  std::int64_t period_count = 0;
  std::int64_t throttled_count = 0;
  /// For how long, summed over the CPUs it was throttled on.
  std::int64_t throttled_ns = 0;

  friend bool operator==(const ThrottleCounts&, const ThrottleCounts&) = default;
};

/// A process's cgroup in `hierarchy`, as /proc/PID/cgroup has it ("/system.slice/web.service"). Nothing: the process has ended, or
/// its cgroup lies outside of what can be seen.
[[nodiscard]] std::optional<std::string> cgroup_of_process(const FileTree& files, const CgroupHierarchy& hierarchy,
                                                           std::string_view controller, std::int32_t pid);
/// The directory of such a cgroup. Nothing: the mount does not show it.
[[nodiscard]] std::optional<std::string> cgroup_directory(const CgroupHierarchy& hierarchy, std::string_view cgroup);

/// The quota of the cgroup itself, not that of those above it. Nothing: it has none.
[[nodiscard]] std::optional<CpuQuota> read_cpu_quota(const FileTree& files, const CgroupHierarchy& hierarchy,
                                                     std::string_view cgroup);
/// cpu.max of cgroup v2: "50000 100000", in microseconds. Nothing: "max", or not understood.
[[nodiscard]] std::optional<CpuQuota> parse_cpu_max(std::string_view text);

/// On cgroup v2 the kernel brings the statistics of the cgroup and all below it up to date for this (cgroup_rstat_flush), which can
/// take long for one that has many below it.
[[nodiscard]] base::Result<ThrottleCounts> read_throttle_counts(const FileTree& files, const CgroupHierarchy& hierarchy,
                                                                std::string_view cgroup);
/// cpu.stat: "nr_periods 5", "nr_throttled 3" and "throttled_time 1000" (v1, nanoseconds) or "throttled_usec 1" (v2).
[[nodiscard]] base::Result<ThrottleCounts> parse_cpu_stat(std::string_view text);

}  // namespace stallscope::host
