// SPDX-License-Identifier: Apache-2.0
#include "host/cgroups.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/text.h"

namespace stallscope::host {
namespace {

// PROC_CGROUP_INIT_INO of include/linux/proc_ns.h: the cgroup namespace the machine booted in.
constexpr std::string_view initial_cgroup_namespace = "cgroup:[4026531835]";

bool has_word(const std::vector<std::string_view>& words, std::string_view wanted) {
  return std::find(words.begin(), words.end(), wanted) != words.end();
}

bool controls(const FileTree& files, const Mount& mount, std::string_view controller) {
  if (mount.filesystem == "cgroup") {
    return has_word(base::split(mount.super_options, ','), controller);
  }
  if (mount.filesystem != "cgroup2") {
    return false;
  }
  const std::string controllers = files.read_line(mount.mount_point + "/cgroup.controllers").value_or("");
  return has_word(base::split_fields(controllers), controller);
}

}  // namespace

CgroupHierarchy find_cgroups(const FileTree& files, const std::vector<Mount>& mounts, std::string_view controller) {
  CgroupHierarchy found;
  for (const Mount& mount : mounts) {
    const bool shows_root = mount.root == "/";
    if ((found.version == 0 || (shows_root && !found.whole)) && controls(files, mount, controller)) {
      found = {mount.filesystem == "cgroup" ? 1 : 2, mount.mount_point == "/" ? "" : mount.mount_point, "", shows_root, mount.root};
    }
  }
  if (found.version == 0) {
    found.reason = "no mounted cgroup hierarchy has the " + std::string(controller) + " controller";
  }
  std::error_code unreadable;
  const std::filesystem::path cgroup_namespace = std::filesystem::read_symlink(files.path("/proc/self/ns/cgroup"), unreadable);
  if (!unreadable && cgroup_namespace != initial_cgroup_namespace) {
    found.whole = false;
  }
  return found;
}

CgroupHierarchy find_memory_cgroups(const FileTree& files, const std::vector<Mount>& mounts) {
  return find_cgroups(files, mounts, "memory");
}

CgroupHierarchy find_cgroups(const FileTree& files, std::string_view controller) {
  const base::Result<std::vector<Mount>> mounts = read_mounts(files);
  return mounts ? find_cgroups(files, *mounts, controller) : CgroupHierarchy{0, "", mounts.error().message(), false, "/"};
}

CgroupHierarchy find_memory_cgroups(const FileTree& files) {
  return find_cgroups(files, "memory");
}

}  // namespace stallscope::host
