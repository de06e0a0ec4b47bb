// SPDX-License-Identifier: Apache-2.0
#include "census/file_name.h"

#include <algorithm>
#include <string_view>

#include "base/text.h"

namespace stallscope::census {
namespace {

/// "pins\0shm\0" becomes "/shm/pins".
std::string join_leaf_first(std::string_view names) {
  std::string path;
  for (const std::string_view name : base::split(names, '\0')) {
    if (!name.empty()) {
      path.insert(0, "/" + std::string(name));
    }
  }
  return path;
}

}  // namespace

std::string pinning_file_path(const file_name_reply& reply, std::uint32_t device, const std::vector<host::Mount>& mounts) {
  if (reply.named == 0) {
    return {};
  }
  const std::string_view names(&reply.path[0], std::min<std::size_t>(reply.path_length, sizeof(reply.path)));
  std::string path = join_leaf_first(names);
  if (reply.detached != 0) {
    // Without a directory there is nothing it could have been deleted from, and the slash would be invented.
    return path.substr(1);
  }
  path = reply.truncated != 0 ? "..." + path : host::path_through_mounts(mounts, device, path);
  return reply.deleted != 0 ? path + " (deleted)" : path;
}

}  // namespace stallscope::census
