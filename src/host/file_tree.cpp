// SPDX-License-Identifier: Apache-2.0
#include "host/file_tree.h"

#include <unistd.h>

#include <cerrno>

#include "base/files.h"

namespace stallscope::host {

base::Result<std::string> FileTree::read(std::string_view absolute) const {
  return base::read_file(path(absolute));
}

std::optional<std::string> FileTree::read_line(std::string_view absolute) const {
  base::Result<std::string> text = read(absolute);
  if (!text) {
    return std::nullopt;
  }
  return text->substr(0, text->find('\n'));
}

std::optional<bool> FileTree::exists(std::string_view absolute) const {
  if (::access(path(absolute).c_str(), F_OK) == 0) {
    return true;
  }
  if (errno == ENOENT || errno == ENOTDIR) {
    return false;
  }
  return std::nullopt;
}

}  // namespace stallscope::host
