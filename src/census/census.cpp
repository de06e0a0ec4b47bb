// SPDX-License-Identifier: Apache-2.0
#include "census/census.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/clock.h"
#include "base/files.h"
#include "base/units.h"
#include "census/memcg_counts.h"
#include "census/memcg_walk.h"
#include "census/memory_summary.h"
#include "census/stat_cost.h"
#include "host/mounts.h"

namespace stallscope::census {
namespace {

template <typename Record>
void append(std::vector<Record>& to, std::vector<Record>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

std::vector<host::Mount> read_mounts(const std::string& root, std::vector<evidence::GapRecord>& gaps) {
  base::Result<std::vector<host::Mount>> mounts = host::read_mounts(host::FileTree(root));
  if (!mounts) {
    gaps.push_back({"mounts", mounts.error().message(), "the cgroup hierarchy is not found and pinning files have no mount point"});
    return {};
  }
  return std::move(*mounts);
}

/// Says which part of the dying memory cgroups the list of files does not explain, so that its sum is not taken for the whole.
void note_unexplained(const MemcgWalk& walk, bool list_is_short, std::vector<evidence::GapRecord>& gaps) {
  const auto gap = [&](std::int64_t count, std::string reason) {
    if (count > 0) {
      gaps.push_back({fmt::format("what pins {} dying memory cgroups", base::format_count(count)), std::move(reason),
                      "the pinning files do not account for them"});
    }
  };
  gap(walk.without_page_count,
      "no page of a file of theirs is on an LRU list: slab objects, sockets, swap, a child or a page not yet on a list keeps them");
  gap(walk.anonymous_only_count, "the page looked at is anonymous memory, which belongs to no file");
  if (!list_is_short || walk.file_count <= static_cast<std::int64_t>(walk.files.size())) {
    return;
  }
  std::int64_t named_count = 0;
  for (const evidence::PinningFileRecord& file : walk.files) {
    named_count += file.memcg_count;
  }
  gap(walk.dying_count - walk.without_page_count - walk.anonymous_only_count - named_count,
      fmt::format("they are pinned by {} files, of which only those that pin the most are kept",
                  base::format_count(walk.file_count)));
}

/// A gap's reason is one sentence, so the hint, which is one of its own, goes into brackets.
std::string with_hint(const base::Error& error) {
  if (error.hint.empty()) {
    return error.reason;
  }
  return fmt::format("{} ({})", error.reason, error.hint.substr(0, error.hint.find_last_not_of('.') + 1));
}

std::vector<DirectoryAge> ages_of(const std::vector<VisibleCgroup>& cgroups) {
  const std::int64_t now_ns = base::realtime_ns();
  std::vector<DirectoryAge> ages;
  for (const VisibleCgroup& cgroup : cgroups) {
    if (cgroup.changed_ns > 0 && cgroup.changed_ns <= now_ns) {
      ages.push_back({cgroup.inode, now_ns - cgroup.changed_ns});
    }
  }
  return ages;
}

void add_walk(const CensusOptions& options, const MemcgCounts& counts, const std::vector<host::Mount>& mounts,
              CensusResult& result) {
  WalkOptions walk_options;
  walk_options.expected_count = counts.total.value_or(0);
  walk_options.name_limit = options.name_limit;
  walk_options.cached_file_limit = options.cached_file_limit;
  base::Result<MemcgWalk> walk = walk_memcgs(mounts, walk_options);
  if (!walk) {
    result.gaps.push_back(
        {"walk of the memory cgroups", with_hint(walk.error()),
         "memory cgroups are counted at best: neither the dying ones by name, nor their charges, nor what pins them are known"});
    return;
  }
  result.memcgs.walked_live = walk->live_count;
  result.memcgs.walked_dying = walk->dying_count;
  result.memcgs.walk_approximate = walk->approximate;
  result.memcgs.walk_ns = walk->walk_ns;
  result.memcgs.walk_longest_section_ns = walk->longest_section_ns;
  result.dying_charged_bytes = walk->dying_charged_bytes;
  note_unexplained(*walk, options.name_limit <= named_file_limit, result.gaps);
  if (walk->approximate) {
    result.gaps.push_back({"complete walk of the memory cgroups", "cgroups went away faster than the tree could be walked",
                           "the walked counts are lower bounds"});
  }
  if (!walk->table.kinds_known) {
    result.gaps.push_back({"charges by kind", "this kernel's rstat counters do not agree with its LRU lists, or cannot be read",
                           "of each memory cgroup only the whole charge and what is on LRU lists is known"});
  }
  if (walk->cached_files_approximate) {
    result.gaps.push_back(
        {"page cache by file", "inodes came and went faster than they could be walked", "larger files may be missing"});
  }
  result.cached_files = std::move(walk->cached_files);
  result.pinning_files = std::move(walk->files);
  result.dying_below = std::move(walk->dying_below);
  result.table = std::move(walk->table);
  bound_ages(result.table, ages_of(counts.cgroups));
}

void add_cost(const CensusOptions& options, const MemcgCounts& counts, CensusResult& result) {
  StatCost cost = measure_stat_cost(costliest_cgroups(counts.cgroups, result.dying_below, options.cost_limit),
                                    timed_memory_stat_read(options.root));
  for (const evidence::StatReadRecord& read : cost.reads) {
    const auto cgroup = std::find_if(counts.cgroups.begin(), counts.cgroups.end(),
                                     [&](const VisibleCgroup& visible) { return visible.path == read.path; });
    if (cgroup != counts.cgroups.end()) {
      const auto dying = result.dying_below.find(cgroup->inode);
      result.cost_curve.push_back(
          {read.path, cgroup->descendant_count, dying == result.dying_below.end() ? 0 : dying->second, read.worst_ns});
    }
  }
  result.stat_reads = std::move(cost.reads);
  append(result.gaps, cost.gaps);
}

/// cgroup v1 does not count its dying cgroups, but counts all of them, and the live ones have directories.
void derive_dying(const MemcgCounts& counts, CensusResult& result) {
  if (result.memcgs.walked_dying || counts.dying || !counts.total || !counts.visible) {
    return;
  }
  // The two were read one after the other, so a cgroup made in between can make the difference negative.
  result.memcgs.kernel_dying = std::max<std::int64_t>(0, *counts.total - *counts.visible);
  result.gaps.push_back({"kernel's count of dying memory cgroups", "cgroup v1 has none",
                         "it is derived: all cgroups of /proc/cgroups without those that have a directory"});
}

}  // namespace

CensusResult take_census(const CensusOptions& options) {
  CensusResult result;
  const std::vector<host::Mount> mounts = read_mounts(options.root, result.gaps);
  MemcgCounts counts = count_memcgs(options.root, mounts);
  result.memcgs.taken_ns = base::monotonic_ns();
  result.memcgs.cgroup_version = counts.hierarchy.version;
  result.memcgs.kernel_total = counts.total;
  result.memcgs.kernel_dying = counts.dying;
  result.memcgs.visible = counts.visible;
  append(result.gaps, counts.gaps);

  if (options.walk) {
    add_walk(options, counts, mounts, result);
  }
  derive_dying(counts, result);
  if (options.read_cost) {
    add_cost(options, counts, result);
  }
  MemorySummary summary = summarize_memory(options.root, options.slabinfo_anyway);
  result.memory = std::move(summary.memory);
  result.slabs = std::move(summary.slabs);
  result.caches = summary.caches;
  append(result.gaps, summary.gaps);
  return result;
}

}  // namespace stallscope::census
