// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "host/file_tree.h"

namespace stallscope::host {

/// Where the memory controller is.
struct MemoryCgroups {
  /// 1 or 2; 0 where the memory controller is in no mounted hierarchy, or that could not be read (`reason` says which).
  std::int32_t version = 0;
  std::string mount_point;
  std::string reason;
};

/// A host can have both versions mounted; the memory controller is in one of them only.
[[nodiscard]] MemoryCgroups find_memory_cgroups(const FileTree& files = {});

/// A field of /proc/self/mounts with its octal escapes (\040 for a space) undone.
[[nodiscard]] std::string unescape_mount_field(std::string_view field);

}  // namespace stallscope::host
