// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "census/memcg_walk.h"
#include "census/memory_summary.h"
#include "census/stat_cost.h"
#include "evidence/records.h"

namespace stallscope::census {

struct CensusOptions {
  /// Walk the kernel's tree of memory cgroups with BPF, which alone can count and name what keeps the dying ones.
  bool walk = true;
  /// Read memory.stat a few times to measure what it costs. Can stall received packets on this CPU; see stat_cost.h.
  bool read_cost = true;
  /// How many cgroups are read then: those with the most dying descendants.
  std::size_t cost_limit = stat_cost_cgroup_limit;
  /// Of how many pinning files the names are found.
  std::size_t name_limit = named_file_limit;
  /// How many of the files with most page cache are found; 0: none. See memcg_walk.h.
  std::size_t cached_file_limit = 0;
  /// Read /proc/slabinfo even where that holds interrupts off; see memory_summary.h.
  bool slabinfo_anyway = false;
  /// Where /proc and the cgroup mounts are found, without a slash at the end: empty for this machine.
  std::string root;
};

/// The state of the memory controller and of the machine's memory at one moment.
struct CensusResult {
  evidence::MemcgCensusRecord memcgs;
  /// Each memory cgroup by itself; empty where they could not be walked.
  MemcgTable table;
  /// By inode number of a live cgroup's directory: its dying descendants, where they could be walked.
  std::unordered_map<std::uint64_t, std::int64_t> dying_below;
  /// The directories that `stat_reads` are of, and what is below each.
  std::vector<StatReadPoint> cost_curve;
  /// Charged to dying memory cgroups in all, where they could be walked.
  std::optional<std::int64_t> dying_charged_bytes;
  /// Those that pin the most memory cgroups, most first.
  std::vector<evidence::PinningFileRecord> pinning_files;
  /// Those with most page cache, most first.
  std::vector<PinningFile> cached_files;
  std::vector<evidence::StatReadRecord> stat_reads;
  std::vector<evidence::MemoryRecord> memory;
  std::vector<evidence::SlabRecord> slabs;
  std::optional<CacheState> caches;
  std::vector<evidence::GapRecord> gaps;
};

/// Never fails as a whole: what cannot be had becomes a gap with its reason and consequence, also without privileges. Blocks for
/// about 0.1 s and 3 us per memory cgroup. The numbers are of slightly different moments: total before the walk, reads
/// after it.
[[nodiscard]] CensusResult take_census(const CensusOptions& options);

}  // namespace stallscope::census
