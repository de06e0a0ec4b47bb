// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "host/file_tree.h"

namespace stallscope::host {

/// A line of /proc/self/mountinfo (proc(5)), its escapes undone.
struct Mount {
  std::int32_t id = 0;
  /// The mount this one is on; not in the table for the topmost one a process sees.
  std::int32_t parent_id = 0;
  /// As the kernel keeps it in memory: major << 20 | minor.
  std::uint32_t device = 0;
  /// The directory of the file system that is mounted, "/" for all of it.
  std::string root;
  std::string mount_point;
  std::string filesystem;
  /// Comma-separated; names the controllers of a cgroup v1 hierarchy.
  std::string super_options;
};

/// Lines that cannot be read are left out.
[[nodiscard]] std::vector<Mount> parse_mountinfo(std::string_view text);

/// The mounts of this process.
[[nodiscard]] base::Result<std::vector<Mount>> read_mounts(const FileTree& files = {});

/// Where this process sees `path` of the file system on `device`: the path under the mount that shows it. Mounts hidden by
/// others do not count. Nowhere mounted: `path` as it is.
[[nodiscard]] std::string path_through_mounts(const std::vector<Mount>& mounts, std::uint32_t device, const std::string& path);

}  // namespace stallscope::host
