// SPDX-License-Identifier: Apache-2.0
#include "census/memory_summary.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/files.h"
#include "base/numbers.h"
#include "base/text.h"

namespace stallscope::census {
namespace {

/// name active_objs num_objs objsize objperslab pagesperslab : tunables l b s : slabdata active_slabs num_slabs sharedavail
std::optional<evidence::SlabRecord> parse_slab(std::string_view line, std::int64_t page_bytes) {
  enum Field : std::size_t { active_objects = 1, objects = 2, object_size = 3, pages_per_slab = 5, slabs = 14, field_count = 16 };
  const std::vector<std::string_view> fields = base::split_fields(line);
  if (fields.size() < field_count || fields.front().starts_with('#')) {
    return std::nullopt;
  }
  const auto active = base::parse_number<std::int64_t>(fields[active_objects]);
  const auto total = base::parse_number<std::int64_t>(fields[objects]);
  const auto size = base::parse_number<std::int64_t>(fields[object_size]);
  const auto pages = base::parse_number<std::int64_t>(fields[pages_per_slab]);
  const auto slab_count = base::parse_number<std::int64_t>(fields[slabs]);
  if (!active || !total || !size || !pages || !slab_count) {
    return std::nullopt;
  }
  return evidence::SlabRecord{std::string(fields.front()), *active, *total, *size, *slab_count * *pages * page_bytes};
}

void add_slabs(const std::string& root, bool anyway, std::size_t limit, MemorySummary& summary) {
  const auto no_slabs = [&](std::string reason) {
    summary.gaps.push_back({"slab caches", std::move(reason), "which kernel caches hold the memory under Slab is not known"});
  };
  const base::Result<std::string> release = base::read_file(root + "/proc/sys/kernel/osrelease");
  const std::optional<KernelVersion> version = release ? parse_kernel_release(*release) : std::nullopt;
  if (!anyway && (!version || !slabinfo_is_harmless(*version))) {
    no_slabs("before Linux 6.10 reading /proc/slabinfo holds interrupts off, so it is read only when asked for");
    return;
  }
  const base::Result<std::string> table = base::read_file(root + "/proc/slabinfo");
  if (!table) {
    no_slabs(table.error().message());
    return;
  }
  summary.slabs = parse_slabinfo(*table, ::sysconf(_SC_PAGESIZE), limit);
  if (summary.slabs.empty()) {
    no_slabs("/proc/slabinfo has no row that can be read");
  }
}

}  // namespace

std::vector<evidence::MemoryRecord> parse_meminfo(std::string_view text) {
  constexpr std::int64_t bytes_per_kib = 1024;
  // With five-level paging (Linux 4.14, commit 77ef56e4f0fb) more than a bundle keeps exactly.
  constexpr std::string_view address_range = "VmallocTotal:";
  std::vector<evidence::MemoryRecord> records;
  for (const std::string_view line : base::split(text, '\n')) {
    const std::vector<std::string_view> fields = base::split_fields(line);
    if (fields.size() != 3 || fields[2] != "kB" || !fields[0].ends_with(':') || fields[0] == address_range) {
      continue;
    }
    if (const auto kib = base::parse_number<std::int64_t>(fields[1])) {
      records.push_back({std::string(fields[0].substr(0, fields[0].size() - 1)), *kib * bytes_per_kib});
    }
  }
  return records;
}

std::vector<evidence::SlabRecord> parse_slabinfo(std::string_view text, std::int64_t page_bytes, std::size_t limit) {
  std::vector<evidence::SlabRecord> slabs;
  for (const std::string_view line : base::split(text, '\n')) {
    if (std::optional<evidence::SlabRecord> slab = parse_slab(line, page_bytes)) {
      slabs.push_back(std::move(*slab));
    }
  }
  std::stable_sort(slabs.begin(), slabs.end(), [](const evidence::SlabRecord& left, const evidence::SlabRecord& right) {
    return left.total_bytes > right.total_bytes;
  });
  slabs.resize(std::min(slabs.size(), limit));
  return slabs;
}

std::optional<KernelVersion> parse_kernel_release(std::string_view release) {
  KernelVersion version;
  const char* const end = release.data() + release.size();
  const auto [dot, major_error] = std::from_chars(release.data(), end, version.major);
  if (major_error != std::errc{} || dot == end || *dot != '.') {
    return std::nullopt;
  }
  const auto [rest, minor_error] = std::from_chars(dot + 1, end, version.minor);
  return minor_error == std::errc{} ? std::optional(version) : std::nullopt;
}

bool slabinfo_is_harmless(KernelVersion version) {
  return std::pair(version.major, version.minor) >= std::pair(6, 10);
}

std::optional<CacheState> parse_cache_state(std::string_view dentry_state, std::string_view inode_number) {
  // fs/dcache.c: nr_dentry, nr_unused, age_limit, want_pages, nr_negative, dummy.
  constexpr std::size_t negative_field = 4;
  const auto numbers = [](std::string_view text) {
    std::vector<std::int64_t> values;
    while (text.ends_with('\n')) {
      text.remove_suffix(1);
    }
    for (const std::string_view field : base::split_fields(text)) {
      values.push_back(base::parse_number<std::int64_t>(field).value_or(-1));
    }
    return values;
  };
  const std::vector<std::int64_t> dentries = numbers(dentry_state);
  const std::vector<std::int64_t> inodes = numbers(inode_number);
  if (dentries.size() < 2 || inodes.size() < 2) {
    return std::nullopt;
  }
  CacheState state;
  state.dentry_count = dentries[0];
  state.unused_dentry_count = dentries[1];
  state.negative_dentry_count = dentries.size() > negative_field ? dentries[negative_field] : -1;
  state.inode_count = inodes[0];
  state.free_inode_count = inodes[1];
  return state;
}

MemorySummary summarize_memory(const std::string& root, bool slabinfo_anyway, std::size_t limit) {
  MemorySummary summary;
  if (const base::Result<std::string> meminfo = base::read_file(root + "/proc/meminfo")) {
    summary.memory = parse_meminfo(*meminfo);
  } else {
    summary.gaps.push_back({"memory summary", meminfo.error().message(), "how much memory is free or cached is not known"});
  }
  const base::Result<std::string> dentries = base::read_file(root + "/proc/sys/fs/dentry-state");
  const base::Result<std::string> inodes = base::read_file(root + "/proc/sys/fs/inode-nr");
  summary.caches = dentries && inodes ? parse_cache_state(*dentries, *inodes) : std::nullopt;
  add_slabs(root, slabinfo_anyway, limit, summary);
  return summary;
}

}  // namespace stallscope::census
