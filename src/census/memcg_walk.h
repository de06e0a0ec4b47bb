// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "census/memcg_table.h"
#include "evidence/records.h"
#include "host/mounts.h"

namespace stallscope::census {

/// What a walk over the kernel's own tree of memory cgroups found. Dying ones have no directory any more; only this way can
/// they be told apart. Works for cgroup v1 and v2 alike.
struct MemcgWalk {
  std::int64_t live_count = 0;
  std::int64_t dying_count = 0;
  std::int64_t dying_charged_bytes = 0;
  /// The tree changed under every attempt: the counts are of the part that was seen.
  bool approximate = false;
  /// From the first section to the last, names included, without loading the program.
  std::int64_t walk_ns = 0;
  /// Longest run of the BPF program, by the kernel's clock: on a kernel without preemption nothing else ran on the CPU meanwhile.
  std::int64_t longest_section_ns = 0;
  /// Dying memory cgroups that no page on an LRU list explains: slab objects, sockets, swap, a child, or one of the last few
  /// pages of a CPU that are not on a list yet. And those that only anonymous memory keeps.
  std::int64_t without_page_count = 0;
  std::int64_t anonymous_only_count = 0;
  /// The files that pin the most, most first; at most `named_file_limit`. charged_bytes is the memory cgroups' whole charge,
  /// children included.
  std::vector<evidence::PinningFileRecord> files;
  /// How many pinning files there are in all.
  std::int64_t file_count = 0;
  /// By inode number of a live cgroup's directory: its dying descendants, where there are any.
  std::unordered_map<std::uint64_t, std::int64_t> dying_below;
  /// Each memory cgroup by itself.
  MemcgTable table;
  /// The files with most page cache, most first, whether or not they pin anything.
  std::vector<PinningFile> cached_files;
  /// Inodes came and went faster than they could be walked: larger files may be missing.
  bool cached_files_approximate = false;
};

/// Of a bundle: what is beyond is counted.
inline constexpr std::size_t named_file_limit = 20;

/// How much of the tree is walked before the CPU is given back: whichever limit comes first ends a section. The time is looked at
/// every 16 steps, so a section runs over by up to about 0.05 ms.
struct SectionLimit {
  std::uint32_t memcg_count = 2'000;
  std::int64_t length_ns = 400'000;
};

struct WalkOptions {
  /// Sizes the table.
  std::int64_t expected_count = 0;
  SectionLimit section_limit;
  /// Of how many pinning files the names are found, those that pin the most first: about 3 us each.
  std::size_t name_limit = named_file_limit;
  /// How many of the files with most page cache are found; for that every inode in memory is looked at, about 0.5 us each. 0: none.
  std::size_t cached_file_limit = 0;
};

/// Blocks for about 3 us per memory cgroup plus 50 ms, and needs some 250 bytes for each. `mounts` turns the paths of files into
/// those this process sees. Needs CAP_BPF and CAP_PERFMON (or root), Linux 5.17 and kernel BTF; the error names which of them is
/// missing.
[[nodiscard]] base::Result<MemcgWalk> walk_memcgs(const std::vector<host::Mount>& mounts, const WalkOptions& options = {});

}  // namespace stallscope::census
