// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/file_tree.h"
#include "host/mounts.h"

namespace stallscope::host {

/// Where the memory controller's hierarchy is mounted.
struct MemoryCgroups {
  /// 1 or 2; 0 where the memory controller is in no mounted hierarchy, or that could not be read (`reason` says which).
  std::int32_t version = 0;
  std::string mount_point;
  std::string reason;
  /// Whether the mount shows the hierarchy from its root. In a container it often does not.
  bool whole = false;
};

/// A host can have both versions mounted; the memory controller is in one of them only. A mount of the whole hierarchy is preferred
/// to a bind mount of a part.
[[nodiscard]] MemoryCgroups find_memory_cgroups(const FileTree& files, const std::vector<Mount>& mounts);
/// The same with the mounts that /proc/self/mountinfo shows.
[[nodiscard]] MemoryCgroups find_memory_cgroups(const FileTree& files = {});

}  // namespace stallscope::host
