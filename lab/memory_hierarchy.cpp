// SPDX-License-Identifier: Apache-2.0
#include "lab/memory_hierarchy.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/files.h"
#include "base/text.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::Result;

std::optional<std::int64_t> parse_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

bool has_word(const std::vector<std::string_view>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// The mount that shows the whole hierarchy where there is one, else the first.
const host::Mount* best_of(const std::vector<const host::Mount*>& candidates) {
  const auto whole =
      std::find_if(candidates.begin(), candidates.end(), [](const host::Mount* mount) { return mount->root == "/"; });
  if (whole != candidates.end()) {
    return *whole;
  }
  return candidates.empty() ? nullptr : candidates.front();
}

Result<MemoryHierarchy> check_v2_controller(MemoryHierarchy hierarchy) {
  for (const char* name : {"/cgroup.controllers", "/cgroup.subtree_control"}) {
    const std::string path = hierarchy.mount_path + name;
    const Result<std::string> controllers = base::read_file(path);
    if (!controllers) {
      return controllers.error();
    }
    if (!has_word(base::split_fields(*controllers), "memory")) {
      return Error{"use the memory controller of", path, "\"memory\" is not in it",
                   "Enable it: echo +memory > " + hierarchy.mount_path +
                       "/cgroup.subtree_control (on a kernel started with cgroup_disable=memory there is none)."};
    }
  }
  return hierarchy;
}

}  // namespace

Result<MemoryHierarchy> choose_memory_hierarchy(const std::vector<host::Mount>& mounts) {
  std::vector<const host::Mount*> v1;
  std::vector<const host::Mount*> v2;
  for (const host::Mount& mount : mounts) {
    if (mount.filesystem == "cgroup" && has_word(base::split(mount.super_options, ','), "memory")) {
      v1.push_back(&mount);
    } else if (mount.filesystem == "cgroup2") {
      v2.push_back(&mount);
    }
  }
  if (const host::Mount* mount = best_of(v1); mount != nullptr) {
    return MemoryHierarchy{CgroupVersion::v1, mount->mount_point};
  }
  if (const host::Mount* mount = best_of(v2); mount != nullptr) {
    return MemoryHierarchy{CgroupVersion::v2, mount->mount_point};
  }
  return Error{"find the memory cgroups", "", "neither a cgroup v1 memory hierarchy nor cgroup v2 is mounted",
               "Mount one, such as: mount -t cgroup2 none /sys/fs/cgroup"};
}

Result<MemoryHierarchy> find_memory_hierarchy() {
  const Result<std::vector<host::Mount>> mounts = host::read_mounts();
  if (!mounts) {
    return mounts.error();
  }
  Result<MemoryHierarchy> hierarchy = choose_memory_hierarchy(*mounts);
  if (hierarchy && hierarchy->version == CgroupVersion::v2) {
    return check_v2_controller(*hierarchy);
  }
  return hierarchy;
}

Result<std::int64_t> parse_v1_count(std::string_view proc_cgroups) {
  constexpr std::size_t num_cgroups_field = 2;
  for (const std::string_view line : base::split(proc_cgroups, '\n')) {
    const std::vector<std::string_view> fields = base::split_fields(line);
    if (fields.size() > num_cgroups_field && fields.front() == "memory") {
      if (const std::optional<std::int64_t> count = parse_number(fields[num_cgroups_field])) {
        return *count;
      }
    }
  }
  return Error{"count memory cgroups in", "/proc/cgroups", "it has no line for the memory controller", ""};
}

Result<std::int64_t> parse_v2_count(std::string_view cgroup_stat) {
  std::optional<std::int64_t> live;
  std::optional<std::int64_t> dying;
  for (const std::string_view line : base::split(cgroup_stat, '\n')) {
    const std::vector<std::string_view> fields = base::split_fields(line);
    if (fields.size() == 2 && fields.front() == "nr_descendants") {
      live = parse_number(fields.back());
    } else if (fields.size() == 2 && fields.front() == "nr_dying_descendants") {
      dying = parse_number(fields.back());
    }
  }
  if (!live || !dying) {
    return Error{"count cgroups in", "cgroup.stat", "it lacks nr_descendants or nr_dying_descendants", ""};
  }
  return 1 + *live + *dying;
}

Result<std::int64_t> count_memory_cgroups(const MemoryHierarchy& hierarchy) {
  const bool v1 = hierarchy.version == CgroupVersion::v1;
  const Result<std::string> text = base::read_file(v1 ? "/proc/cgroups" : hierarchy.mount_path + "/cgroup.stat");
  if (!text) {
    return text.error();
  }
  return v1 ? parse_v1_count(*text) : parse_v2_count(*text);
}

}  // namespace stallscope::lab
