// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

// What a recording says of memory and of the memory cgroups. Part of evidence/records.h.
namespace stallscope::evidence {

/// Memory cgroups at one moment. Nothing where a count is not known.
struct MemcgCensusRecord {
  std::int64_t taken_ns = 0;
  std::int32_t cgroup_version = 0;
  /// The kernel's own: /proc/cgroups num_cgroups (v1 and v2), cgroup.stat nr_dying_descendants (v2).
  std::optional<std::int64_t> kernel_total;
  std::optional<std::int64_t> kernel_dying;
  /// Directories of the hierarchy, root included.
  std::optional<std::int64_t> visible;
  /// By walking the tree of css structures; root included.
  std::optional<std::int64_t> walked_live;
  std::optional<std::int64_t> walked_dying;
  /// Whether the tree kept changing while it was walked.
  bool walk_approximate = false;
  std::int64_t walk_ns = 0;
  /// Longest stretch the walk did not give the CPU back.
  std::int64_t walk_longest_section_ns = 0;

  friend bool operator==(const MemcgCensusRecord&, const MemcgCensusRecord&) = default;
};

/// A file whose page cache keeps dying memory cgroups in memory.
struct PinningFileRecord {
  /// Path inside its file system, as far as its directory entries are cached.
  std::string path;
  std::string filesystem;
  std::uint32_t device = 0;
  std::uint64_t inode = 0;
  /// Dying memory cgroups whose first page on an LRU list belongs to this file, and what all of them are charged.
  std::int64_t memcg_count = 0;
  std::int64_t charged_bytes = 0;

  friend bool operator==(const PinningFileRecord&, const PinningFileRecord&) = default;
};

/// What reading one cgroup's memory.stat cost, read several times in a row.
struct StatReadRecord {
  std::string path;
  std::int32_t read_count = 0;
  std::int64_t median_ns = 0;
  std::int64_t worst_ns = 0;

  friend bool operator==(const StatReadRecord&, const StatReadRecord&) = default;
};

/// A row of /proc/meminfo.
struct MemoryRecord {
  std::string name;
  std::int64_t bytes = 0;

  friend bool operator==(const MemoryRecord&, const MemoryRecord&) = default;
};

/// A row of /proc/slabinfo.
struct SlabRecord {
  std::string cache;
  std::int64_t active_objects = 0;
  std::int64_t total_objects = 0;
  std::int64_t object_bytes = 0;
  std::int64_t total_bytes = 0;

  friend bool operator==(const SlabRecord&, const SlabRecord&) = default;
};

}  // namespace stallscope::evidence
