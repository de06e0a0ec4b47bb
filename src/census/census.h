// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "evidence/records.h"

namespace stallscope::census {

struct CensusOptions {
  /// Walk the kernel's tree of memory cgroups with BPF, which alone can count and name what keeps the dying ones.
  bool walk = true;
  /// Read memory.stat a few times to measure what it costs. Can stall received packets on this CPU; see stat_cost.h.
  bool read_cost = true;
  /// Read /proc/slabinfo even where that holds interrupts off; see memory_summary.h.
  bool slabinfo_anyway = false;
  /// Where /proc and the cgroup mounts are found, without a slash at the end: empty for this machine.
  std::string root;
};

/// The state of the memory controller and of the machine's memory at one moment.
struct CensusResult {
  evidence::MemcgCensusRecord memcgs;
  /// Charged to dying memory cgroups in all, where they could be walked.
  std::optional<std::int64_t> dying_charged_bytes;
  /// Those that pin the most memory cgroups, most first.
  std::vector<evidence::PinningFileRecord> pinning_files;
  std::vector<evidence::StatReadRecord> stat_reads;
  std::vector<evidence::MemoryRecord> memory;
  std::vector<evidence::SlabRecord> slabs;
  std::vector<evidence::GapRecord> gaps;
};

/// Never fails as a whole: what cannot be had becomes a gap with its reason and consequence, also without privileges. Blocks for
/// about 0.1 s and 1 us per dying memory cgroup. The numbers are of slightly different moments: total before the walk, reads
/// after it.
[[nodiscard]] CensusResult take_census(const CensusOptions& options);

}  // namespace stallscope::census
