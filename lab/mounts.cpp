// SPDX-License-Identifier: Apache-2.0
#include "lab/mounts.h"

#include <algorithm>

#include "base/files.h"
#include "base/text.h"

namespace stallscope::lab {
namespace {

std::string decode_escapes(std::string_view field) {
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string out;
  for (std::size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size() && octal(field[i + 1]) && octal(field[i + 2]) && octal(field[i + 3])) {
      out += static_cast<char>((field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 + (field[i + 3] - '0'));
      i += 3;
    } else {
      out += field[i];
    }
  }
  return out;
}

}  // namespace

std::vector<Mount> parse_mountinfo(std::string_view text) {
  constexpr std::size_t root_field = 3;
  constexpr std::size_t mount_point_field = 4;
  constexpr std::size_t first_optional_field = 6;
  std::vector<Mount> mounts;
  for (const std::string_view line : base::split(text, '\n')) {
    const std::vector<std::string_view> fields = base::split_fields(line);
    if (fields.size() <= first_optional_field) {
      continue;
    }
    // A variable number of optional fields ends with a lone hyphen: file system, source and super options follow it.
    const auto separator = std::find(fields.begin() + first_optional_field, fields.end(), std::string_view("-"));
    if (fields.end() - separator < 4) {
      continue;
    }
    mounts.push_back({decode_escapes(fields[root_field]), decode_escapes(fields[mount_point_field]), std::string(separator[1]),
                      std::string(separator[3])});
  }
  return mounts;
}

base::Result<std::vector<Mount>> read_mounts() {
  const base::Result<std::string> text = base::read_file("/proc/self/mountinfo");
  if (!text) {
    return text.error();
  }
  return parse_mountinfo(*text);
}

}  // namespace stallscope::lab
