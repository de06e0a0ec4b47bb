// SPDX-License-Identifier: Apache-2.0
#include "cli/throttled_servers.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

namespace stallscope::cli {
namespace {

using base::Result;
using evidence::ThrottledCgroupRecord;
using host::CgroupHierarchy;
using host::CpuQuota;

constexpr std::string_view controller = "cpu";

/// Limits by cgroup, each read once.
class Limits {
 public:
  explicit Limits(const CgroupHierarchy& hierarchy) : hierarchy_(hierarchy) {}

  /// The limits that hold for what runs in `cgroup`: its own and those of the cgroups above it.
  [[nodiscard]] std::vector<std::pair<std::string, CpuQuota>> above(std::string cgroup) {
    std::vector<std::pair<std::string, CpuQuota>> found;
    while (cgroup.size() > 1) {
      const auto [entry, is_new] = known_.try_emplace(cgroup);
      if (is_new) {
        entry->second = host::read_cpu_quota({}, hierarchy_, cgroup);
      }
      if (entry->second) {
        found.emplace_back(cgroup, *entry->second);
      }
      cgroup.resize(cgroup.rfind('/'));
    }
    return found;
  }

 private:
  const CgroupHierarchy& hierarchy_;
  std::map<std::string, std::optional<CpuQuota>> known_;
};

/// A process under a limit, and the cgroups that have one.
using LimitsByProcess = std::map<std::int32_t, std::vector<std::pair<std::string, CpuQuota>>>;

LimitsByProcess find_limits(const CgroupHierarchy& hierarchy) {
  LimitsByProcess found;
  Limits limits(hierarchy);
  for (const std::int32_t pid : host::list_processes()) {
    const std::optional<std::string> cgroup = host::cgroup_of_process({}, hierarchy, controller, pid);
    if (!cgroup) {
      continue;
    }
    if (auto above = limits.above(*cgroup); !above.empty()) {
      found[pid] = std::move(above);
    }
  }
  return found;
}

/// A server rather than a client: it accepts connections, or receives from anybody.
int rank(const host::SocketState& socket) {
  return socket.listening ? 2 : (socket.connected ? 0 : 1);
}

struct Candidate {
  ThrottledCgroupRecord record;
  std::set<std::int32_t> pids;
  int rank = -1;
};

std::map<std::string, Candidate> find_candidates(const LimitsByProcess& limits, const SocketSnapshot& sockets) {
  std::set<std::uint64_t> inodes;
  for (const host::SocketState& socket : sockets.sockets) {
    inodes.insert(socket.inode);
  }
  std::vector<std::int32_t> pids;
  for (const auto& [pid, above] : limits) {
    pids.push_back(pid);
  }
  const std::map<std::uint64_t, host::SocketOwner> owners = host::find_socket_owners(inodes, pids);
  std::map<std::string, Candidate> candidates;
  for (const host::SocketState& socket : sockets.sockets) {
    const auto owner = owners.find(socket.inode);
    if (owner == owners.end()) {
      continue;
    }
    for (const auto& [cgroup, quota] : limits.at(owner->second.pid)) {
      Candidate& candidate = candidates[cgroup];
      candidate.pids.insert(owner->second.pid);
      if (rank(socket) > candidate.rank) {
        candidate.rank = rank(socket);
        candidate.record = {.cgroup = cgroup,
                            .quota_ns = quota.quota_ns,
                            .period_ns = quota.period_ns,
                            .pid = owner->second.pid,
                            .comm = owner->second.comm,
                            .protocol = socket.protocol,
                            .local_address = socket.local_address};
      }
    }
  }
  return candidates;
}

}  // namespace

Result<std::vector<LimitedServer>> find_limited_servers(const SocketSnapshot& sockets) {
  const CgroupHierarchy hierarchy = host::find_cgroups({}, controller);
  if (hierarchy.version == 0) {
    return base::Error{"read", "CPU limits", hierarchy.reason, ""};
  }
  std::vector<LimitedServer> servers;
  for (auto& [cgroup, candidate] : find_candidates(find_limits(hierarchy), sockets)) {
    // Last, and of cgroups with a limit only: on cgroup v2 this flushes the statistics of all that is below the cgroup.
    const Result<host::ThrottleCounts> counts = host::read_throttle_counts({}, hierarchy, cgroup);
    if (counts) {
      candidate.record.process_count = static_cast<std::int32_t>(candidate.pids.size());
      servers.push_back({std::move(candidate.record), *counts});
    }
  }
  return servers;
}

std::vector<ThrottledCgroupRecord> throttled_since(const std::vector<LimitedServer>& before) {
  constexpr std::size_t most_records = 100;
  std::vector<ThrottledCgroupRecord> records;
  if (before.empty()) {
    return records;
  }
  const CgroupHierarchy hierarchy = host::find_cgroups({}, controller);
  for (const LimitedServer& server : before) {
    // One that has gone meanwhile cannot be asked any more.
    const Result<host::ThrottleCounts> after = host::read_throttle_counts({}, hierarchy, server.cgroup.cgroup);
    if (!after || after->throttled_count <= server.counts.throttled_count || after->throttled_ns < server.counts.throttled_ns ||
        after->period_count < server.counts.period_count) {
      continue;
    }
    ThrottledCgroupRecord record = server.cgroup;
    record.period_count = after->period_count - server.counts.period_count;
    record.throttled_count = after->throttled_count - server.counts.throttled_count;
    record.throttled_ns = after->throttled_ns - server.counts.throttled_ns;
    records.push_back(std::move(record));
  }
  std::stable_sort(records.begin(), records.end(),
                   [](const ThrottledCgroupRecord& a, const ThrottledCgroupRecord& b) { return a.throttled_ns > b.throttled_ns; });
  records.resize(std::min(records.size(), most_records));
  return records;
}

}  // namespace stallscope::cli
