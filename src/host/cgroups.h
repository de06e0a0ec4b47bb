// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/file_tree.h"
#include "host/mounts.h"

namespace stallscope::host {

/// Where the hierarchy of a controller is mounted.
struct CgroupHierarchy {
  /// 1 or 2; 0 where the controller is in no mounted hierarchy, or that could not be read (`reason` says which).
  std::int32_t version = 0;
  std::string mount_point;
  std::string reason;
  /// Whether the mount shows the hierarchy from its root. In a container it often does not.
  bool whole = false;
  /// The cgroup that the mount shows as its root, by a path as /proc/PID/cgroup has it.
  std::string root = "/";
};

/// A host can have both versions mounted; a controller is in one of them only. A mount of the whole hierarchy is preferred to a
/// bind mount of a part. `controller`: "memory", "cpu".
[[nodiscard]] CgroupHierarchy find_cgroups(const FileTree& files, const std::vector<Mount>& mounts, std::string_view controller);
[[nodiscard]] CgroupHierarchy find_memory_cgroups(const FileTree& files, const std::vector<Mount>& mounts);
/// The same with the mounts that /proc/self/mountinfo shows.
[[nodiscard]] CgroupHierarchy find_cgroups(const FileTree& files, std::string_view controller);
[[nodiscard]] CgroupHierarchy find_memory_cgroups(const FileTree& files = {});

}  // namespace stallscope::host
