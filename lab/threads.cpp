// SPDX-License-Identifier: Apache-2.0
#include "lab/threads.h"

#include <charconv>
#include <filesystem>
#include <functional>
#include <string>

#include "base/files.h"

namespace stallscope::lab {
namespace {

std::vector<pid_t> threads_where(const std::function<bool(std::string_view)>& matches) {
  std::vector<pid_t> found;
  std::error_code error;
  for (const std::filesystem::directory_entry& process : std::filesystem::directory_iterator("/proc", error)) {
    const std::string name = process.path().filename().string();
    pid_t pid = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (parsed.ec != std::errc{} || parsed.ptr != name.data() + name.size()) {
      continue;
    }
    const base::Result<std::string> comm = base::read_file(process.path().string() + "/comm");
    if (comm && matches(std::string_view(*comm).substr(0, comm->find('\n')))) {
      found.push_back(pid);
    }
  }
  return found;
}

}  // namespace

std::vector<pid_t> threads_named(std::string_view name) {
  return threads_where([&](std::string_view comm) { return comm == name; });
}

std::vector<pid_t> threads_named_like(std::string_view prefix) {
  return threads_where([&](std::string_view comm) { return comm.starts_with(prefix); });
}

}  // namespace stallscope::lab
