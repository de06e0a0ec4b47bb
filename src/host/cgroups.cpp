// SPDX-License-Identifier: Apache-2.0
#include "host/cgroups.h"

#include <algorithm>
#include <vector>

#include "base/text.h"

namespace stallscope::host {
namespace {

bool has_word(const std::vector<std::string_view>& words, std::string_view wanted) {
  return std::find(words.begin(), words.end(), wanted) != words.end();
}

bool is_octal(char digit) {
  return digit >= '0' && digit <= '7';
}

}  // namespace

std::string unescape_mount_field(std::string_view field) {
  std::string text;
  for (std::size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size() && is_octal(field[i + 1]) && is_octal(field[i + 2]) && is_octal(field[i + 3])) {
      text += static_cast<char>(((field[i + 1] - '0') * 64) + ((field[i + 2] - '0') * 8) + (field[i + 3] - '0'));
      i += 3;
    } else {
      text += field[i];
    }
  }
  return text;
}

MemoryCgroups find_memory_cgroups(const FileTree& files) {
  const base::Result<std::string> mounts = files.read("/proc/self/mounts");
  if (!mounts) {
    return {0, "", mounts.error().message()};
  }
  for (const std::string_view line : base::split(*mounts, '\n')) {
    const std::vector<std::string_view> fields = base::split_fields(line);
    if (fields.size() < 4) {
      continue;
    }
    std::string mount_point = unescape_mount_field(fields[1]);
    if (fields[2] == "cgroup" && has_word(base::split(fields[3], ','), "memory")) {
      return {1, std::move(mount_point), ""};
    }
    if (fields[2] == "cgroup2") {
      const std::string controllers = files.read_line(mount_point + "/cgroup.controllers").value_or("");
      if (has_word(base::split_fields(controllers), "memory")) {
        return {2, std::move(mount_point), ""};
      }
    }
  }
  return {0, "", "no mounted cgroup hierarchy has the memory controller"};
}

}  // namespace stallscope::host
