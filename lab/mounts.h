// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace stallscope::lab {

/// One mount of this process's mount namespace.
struct Mount {
  /// The directory of the file system that is mounted: "/" unless it is a bind mount or a cgroup namespace's view.
  std::string root;
  std::string mount_point;
  std::string file_system;
  std::string super_options;
};

/// Parses the text of /proc/PID/mountinfo (proc(5)); its octal escapes are decoded. Lines of another form are skipped. In the
/// order of the file, so that where two mounts share a mount point the later one is on top.
[[nodiscard]] std::vector<Mount> parse_mountinfo(std::string_view text);

/// The mounts of this process.
[[nodiscard]] base::Result<std::vector<Mount>> read_mounts();

}  // namespace stallscope::lab
