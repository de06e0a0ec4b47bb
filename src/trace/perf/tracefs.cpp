// SPDX-License-Identifier: Apache-2.0
#include "trace/perf/tracefs.h"

#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/files.h"
#include "host/private_mounts.h"

namespace stallscope::trace::perf {
namespace {

using Formats = std::map<std::string, TracepointFormat, std::less<>>;

/// The mount point of tracefs since Linux 4.1, and the folder of debugfs that tracefs shows up in, or was before.
constexpr std::array<const char*, 2> event_directories = {"/sys/kernel/tracing/events/", "/sys/kernel/debug/tracing/events/"};

bool mounted() {
  return std::any_of(event_directories.begin(), event_directories.end(),
                     [](const char* directory) { return ::access(directory, R_OK | X_OK) == 0; });
}

Formats read_mounted(std::span<const std::string_view> names) {
  Formats formats;
  for (const std::string_view name : names) {
    for (const char* directory : event_directories) {
      const base::Result<std::string> text = base::read_file(directory + std::string(name) + "/format");
      std::optional<TracepointFormat> format = text ? parse_tracepoint_format(*text) : std::nullopt;
      if (format) {
        formats.emplace(name, std::move(*format));
        break;
      }
    }
  }
  return formats;
}

}  // namespace

base::Result<Formats> read_tracepoint_formats(std::span<const std::string_view> names) {
  if (mounted()) {
    return read_mounted(names);
  }
  Formats formats;
  const base::Status read = host::in_private_mounts([&]() -> base::Status {
    if (::mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, nullptr) != 0 &&
        ::mount("debugfs", "/sys/kernel/debug", "debugfs", 0, nullptr) != 0) {
      return base::errno_error("mount", "tracefs", errno, "Run it as root, or mount tracefs at /sys/kernel/tracing.");
    }
    formats = read_mounted(names);
    return base::ok();
  });
  if (!read) {
    return read.error();
  }
  return formats;
}

}  // namespace stallscope::trace::perf
