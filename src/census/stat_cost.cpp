// SPDX-License-Identifier: Apache-2.0
#include "census/stat_cost.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <tuple>
#include <utility>

#include "base/clock.h"
#include "base/files.h"
#include "base/units.h"

namespace stallscope::census {
namespace {

constexpr int reads_per_cgroup = 3;
constexpr std::int64_t slow_read_ns = 20 * base::ns_per_ms;

/// Opening is not timed: it flushes nothing.
base::Result<std::int64_t> time_read(const std::string& path) {
  const base::Result<base::OwnedFd> file = base::open_file(path, O_RDONLY);
  if (!file) {
    return file.error();
  }
  std::array<char, 16'384> buffer{};
  const std::int64_t start_ns = base::monotonic_ns();
  while (true) {
    const ssize_t got = ::read(file->get(), buffer.data(), buffer.size());
    if (got == 0) {
      return base::monotonic_ns() - start_ns;
    }
    if (got < 0 && errno != EINTR) {
      return base::errno_error("read", path, errno);
    }
  }
}

base::Result<evidence::StatReadRecord> measure(const std::string& cgroup, const TimedRead& timed_read) {
  std::vector<std::int64_t> costs_ns;
  while (costs_ns.size() < reads_per_cgroup && (costs_ns.empty() || costs_ns.back() <= slow_read_ns)) {
    const base::Result<std::int64_t> cost_ns = timed_read(cgroup);
    if (!cost_ns) {
      return cost_ns.error();
    }
    costs_ns.push_back(*cost_ns);
  }
  std::sort(costs_ns.begin(), costs_ns.end());
  return evidence::StatReadRecord{cgroup, static_cast<std::int32_t>(costs_ns.size()), costs_ns[costs_ns.size() / 2],
                                  costs_ns.back()};
}

}  // namespace

std::vector<std::string> costliest_cgroups(const std::vector<VisibleCgroup>& cgroups,
                                           const std::unordered_map<std::uint64_t, std::int64_t>& dying_below, std::size_t limit) {
  const auto dying = [&](const VisibleCgroup& cgroup) {
    const auto found = dying_below.find(cgroup.inode);
    return found == dying_below.end() ? std::int64_t{0} : found->second;
  };
  std::vector<VisibleCgroup> ranked = cgroups;
  if (!ranked.empty()) {
    std::sort(ranked.begin() + 1, ranked.end(), [&](const VisibleCgroup& left, const VisibleCgroup& right) {
      return std::make_tuple(-dying(left), -left.descendant_count, left.path) <
             std::make_tuple(-dying(right), -right.descendant_count, right.path);
    });
  }
  ranked.resize(std::min(ranked.size(), limit));
  std::vector<std::string> paths;
  paths.reserve(ranked.size());
  for (VisibleCgroup& cgroup : ranked) {
    paths.push_back(std::move(cgroup.path));
  }
  return paths;
}

TimedRead timed_memory_stat_read(std::string root) {
  return [root = std::move(root)](const std::string& cgroup) { return time_read(root + cgroup + "/memory.stat"); };
}

StatCost measure_stat_cost(const std::vector<std::string>& cgroups, const TimedRead& timed_read) {
  StatCost cost;
  for (const std::string& cgroup : cgroups) {
    base::Result<evidence::StatReadRecord> read = measure(cgroup, timed_read);
    if (read) {
      cost.reads.push_back(std::move(*read));
    } else {
      cost.gaps.push_back({"cost of reading memory.stat", read.error().message(),
                           "whether reading this cgroup's statistics stalls the CPU is not known"});
    }
  }
  return cost;
}

}  // namespace stallscope::census
