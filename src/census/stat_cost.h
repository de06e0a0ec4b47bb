// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "census/memcg_counts.h"
#include "evidence/records.h"

namespace stallscope::census {

/// What reading memory.stat costs at this moment, measured by reading it.
///
/// Reading can itself be the fault this tool looks for: where statistics wait to be flushed, the kernel holds interrupts off for
/// the whole read, which delays received packets on this CPU. So few cgroups are read, three times each, and one whose read took
/// more than 20 ms is not read again; leave it out altogether where even one stall is too much.
struct StatCost {
  /// `path` is the cgroup's directory.
  std::vector<evidence::StatReadRecord> reads;
  std::vector<evidence::GapRecord> gaps;
};

/// A read's cost beside the number of memory cgroups a flush there can go through.
struct StatReadPoint {
  std::string path;
  std::int64_t live_below = 0;
  std::int64_t dying_below = 0;
  std::int64_t worst_ns = 0;
};

/// The root and those cgroups that hold the most dying and then the most live descendants: at most `limit` in all.
/// `dying_below` is by inode number.
[[nodiscard]] std::vector<std::string> costliest_cgroups(const std::vector<VisibleCgroup>& cgroups,
                                                         const std::unordered_map<std::uint64_t, std::int64_t>& dying_below,
                                                         std::size_t limit);

/// How long one read of a cgroup's statistics took.
using TimedRead = std::function<base::Result<std::int64_t>(const std::string& cgroup)>;

/// Reads memory.stat of the directory, below `root`: the time in read(2) until end of file.
[[nodiscard]] TimedRead timed_memory_stat_read(std::string root);

/// Blocks for the reads. A cgroup that cannot be read, perhaps because it is gone by now, makes a gap.
[[nodiscard]] StatCost measure_stat_cost(const std::vector<std::string>& cgroups, const TimedRead& timed_read);

inline constexpr std::size_t stat_cost_cgroup_limit = 5;

}  // namespace stallscope::census
