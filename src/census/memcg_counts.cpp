// SPDX-License-Identifier: Apache-2.0
#include "census/memcg_counts.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/files.h"
#include "base/numbers.h"
#include "base/result.h"
#include "base/text.h"
#include "base/units.h"

namespace stallscope::census {
namespace {

// A tree ten times the 20,000 or so cgroups of the largest hosts; reading one larger would take minutes.
constexpr std::size_t directory_limit = 200'000;

/// Appends the children of cgroups[index]. A cgroup without children is not read: its link count tells, as in every kernfs.
base::Status append_children(const std::string& root, std::size_t index, std::vector<VisibleCgroup>& cgroups,
                             std::vector<std::size_t>& parents) {
  namespace fs = std::filesystem;
  const std::string directory = cgroups[index].path;
  struct stat status {};
  constexpr nlink_t links_without_children = 2;
  // A cgroup that goes away while the tree is read is no longer there to be counted.
  if (::stat((root + directory).c_str(), &status) != 0) {
    return base::ok();
  }
  cgroups[index].inode = status.st_ino;
  cgroups[index].changed_ns = status.st_mtim.tv_sec * base::ns_per_s + status.st_mtim.tv_nsec;
  if (status.st_nlink == links_without_children) {
    return base::ok();
  }
  std::error_code error;
  for (fs::directory_iterator entry(root + directory, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code gone;
    if (entry->is_symlink(gone) || !entry->is_directory(gone)) {
      continue;
    }
    if (cgroups.size() >= directory_limit) {
      return base::Error{"count the directories of", cgroups.front().path, "there are more than 200,000", ""};
    }
    cgroups.push_back({directory + "/" + entry->path().filename().string(), 0, 0, 0});
    parents.push_back(index);
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return base::Error{"read", directory, error.message(), ""};
  }
  return base::ok();
}

base::Result<std::vector<VisibleCgroup>> list_cgroups(const std::string& root, const std::string& mount_point) {
  std::vector<VisibleCgroup> cgroups{{mount_point, 0, 0, 0}};
  std::vector<std::size_t> parents{0};
  for (std::size_t i = 0; i < cgroups.size(); ++i) {
    if (const base::Status read = append_children(root, i, cgroups, parents); !read) {
      return read.error();
    }
  }
  for (std::size_t i = cgroups.size() - 1; i > 0; --i) {
    cgroups[parents[i]].descendant_count += cgroups[i].descendant_count + 1;
  }
  return cgroups;
}

/// v2 counts its cgroups in the root's cgroup.stat; since 6.12 (ab0312526867) those with a memory controller by themselves.
void count_from_cgroup_stat(std::string_view stat, MemcgCounts& counts) {
  const auto live_memcgs = cgroup_stat_value(stat, "nr_subsys_memory");
  const auto dying_memcgs = cgroup_stat_value(stat, "nr_dying_subsys_memory");
  if (live_memcgs && dying_memcgs) {
    counts.total = *live_memcgs + *dying_memcgs;
    counts.dying = dying_memcgs;
    return;
  }
  const auto live_descendants = cgroup_stat_value(stat, "nr_descendants");
  counts.dying = cgroup_stat_value(stat, "nr_dying_descendants");
  if (!counts.total && live_descendants && counts.dying) {
    counts.total = *live_descendants + *counts.dying + 1;
  }
}

void note_missing_total(MemcgCounts& counts) {
  if (!counts.total) {
    counts.gaps.push_back({"kernel's count of memory cgroups",
                           "/proc/cgroups has no row for an enabled memory controller and no cgroup.stat replaces it",
                           "live and dying memory cgroups are known only by walking"});
  }
}

}  // namespace

std::optional<std::int64_t> memory_cgroup_total(std::string_view proc_cgroups) {
  for (const std::string_view line : base::split(proc_cgroups, '\n')) {
    const std::vector<std::string_view> fields = base::split_fields(line);
    if (fields.size() == 4 && fields[0] == "memory" && fields[3] == "1") {
      return base::parse_number<std::int64_t>(fields[2]);
    }
  }
  return std::nullopt;
}

std::optional<std::int64_t> cgroup_stat_value(std::string_view cgroup_stat, std::string_view name) {
  for (const std::string_view line : base::split(cgroup_stat, '\n')) {
    const std::vector<std::string_view> fields = base::split_fields(line);
    if (fields.size() == 2 && fields[0] == name) {
      return base::parse_number<std::int64_t>(fields[1]);
    }
  }
  return std::nullopt;
}

MemcgCounts count_memcgs(const std::string& root, const std::vector<host::Mount>& mounts) {
  MemcgCounts counts;
  if (const base::Result<std::string> table = base::read_file(root + "/proc/cgroups")) {
    counts.total = memory_cgroup_total(*table);
  }
  counts.hierarchy = host::find_memory_cgroups(host::FileTree(root), mounts);
  if (counts.hierarchy.version == 0) {
    counts.gaps.push_back({"memory cgroup hierarchy", "no mount of /proc/self/mountinfo has the memory controller",
                           "cgroups that can be seen are not counted and no memory.stat is read"});
    note_missing_total(counts);
    return counts;
  }
  base::Result<std::vector<VisibleCgroup>> cgroups = list_cgroups(root, counts.hierarchy.mount_point);
  if (cgroups) {
    counts.cgroups = std::move(*cgroups);
  } else {
    counts.gaps.push_back({"cgroup directories", cgroups.error().message(), "the number of visible cgroups is unknown"});
  }
  if (!counts.hierarchy.whole) {
    counts.gaps.push_back({"whole cgroup hierarchy", "this process sees only a part of it (cgroup namespace or bind mount)",
                           "the number of visible cgroups is unknown"});
  } else if (cgroups) {
    counts.visible = static_cast<std::int64_t>(counts.cgroups.size());
  }
  if (counts.hierarchy.version == 2 && counts.hierarchy.whole) {
    if (const base::Result<std::string> stat = base::read_file(root + counts.hierarchy.mount_point + "/cgroup.stat")) {
      count_from_cgroup_stat(*stat, counts);
    }
  }
  note_missing_total(counts);
  return counts;
}

}  // namespace stallscope::census
