// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "evidence/records.h"

namespace stallscope::census {

/// The rows of /proc/meminfo that are in kB, in its order and in bytes. Rows that count pages of a kind are left out, and
/// VmallocTotal, which is the size of an address range and no memory.
[[nodiscard]] std::vector<evidence::MemoryRecord> parse_meminfo(std::string_view text);

/// The caches of /proc/slabinfo (format 2.x) that take most memory, largest first, at most `limit`. total_bytes is whole slabs.
[[nodiscard]] std::vector<evidence::SlabRecord> parse_slabinfo(std::string_view text, std::int64_t page_bytes, std::size_t limit);

/// "6.1.0-13-amd64" is (6, 1).
struct KernelVersion {
  std::int32_t major = 0;
  std::int32_t minor = 0;
};
[[nodiscard]] std::optional<KernelVersion> parse_kernel_release(std::string_view release);

/// Whether reading /proc/slabinfo is harmless: before Linux 6.10 (commit 046f4c69090c) the kernel walks each cache's lists of slabs
/// with interrupts off, for milliseconds where there are many.
[[nodiscard]] bool slabinfo_is_harmless(KernelVersion version);

/// The kernel's own counts of cached directory entries and inodes (/proc/sys/fs/dentry-state and inode-nr): per CPU, summed without
/// a lock, so a little off while they change. nr_negative since Linux 5.1 (commit af0c9af1b3f6); -1: not known.
struct CacheState {
  std::int64_t dentry_count = 0;
  std::int64_t unused_dentry_count = 0;
  std::int64_t negative_dentry_count = -1;
  std::int64_t inode_count = 0;
  std::int64_t free_inode_count = 0;
};
[[nodiscard]] std::optional<CacheState> parse_cache_state(std::string_view dentry_state, std::string_view inode_number);

inline constexpr std::size_t slab_limit = 20;

struct MemorySummary {
  std::vector<evidence::MemoryRecord> memory;
  std::vector<evidence::SlabRecord> slabs;
  std::optional<CacheState> caches;
  std::vector<evidence::GapRecord> gaps;
};

/// Reads /proc/meminfo, the state of the caches and, where that is harmless or `slabinfo_anyway`, /proc/slabinfo (which needs
/// root), below `root`. Of the slab caches the `limit` largest.
[[nodiscard]] MemorySummary summarize_memory(const std::string& root, bool slabinfo_anyway, std::size_t limit = slab_limit);

}  // namespace stallscope::census
