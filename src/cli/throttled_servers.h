// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cli/watched_sockets.h"
#include "evidence/records.h"
#include "host/cpu_quota.h"

namespace stallscope::cli {

/// A cgroup with a limit on its CPU time that has processes with sockets of the watched network namespace, in it or below it.
struct LimitedServer {
  /// Its counts are zero: who it is, and what it may use.
  evidence::ThrottledCgroupRecord cgroup;
  host::ThrottleCounts counts;
};

/// Of this host. Reads the cgroup of every process, the limits of these cgroups, and, only of processes that have a limit, the
/// descriptors. The error says why limits cannot be read.
[[nodiscard]] base::Result<std::vector<LimitedServer>> find_limited_servers(const SocketSnapshot& sockets);

/// Those that were throttled since, the longest first, and no more than a report can use.
[[nodiscard]] std::vector<evidence::ThrottledCgroupRecord> throttled_since(const std::vector<LimitedServer>& before);

}  // namespace stallscope::cli
