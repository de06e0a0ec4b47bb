// SPDX-License-Identifier: Apache-2.0
#include "host/cpu_quota.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "base/units.h"
#include "host/numbers.h"

namespace stallscope::host {
namespace {

/// Microseconds as nanoseconds; nothing for what is no length.
std::optional<std::int64_t> parse_microseconds(std::string_view text) {
  constexpr std::int64_t longest_us = std::int64_t{1} << 52U;
  const std::optional<std::int64_t> value = parse_number<std::int64_t>(text);
  return value && *value > 0 && *value <= longest_us ? std::optional(*value * base::ns_per_us) : std::nullopt;
}

std::optional<std::int64_t> read_microseconds(const FileTree& files, const std::string& path) {
  const std::optional<std::string> line = files.read_line(path);
  return line ? parse_microseconds(*line) : std::nullopt;
}

}  // namespace

std::optional<std::string> cgroup_of_process(const FileTree& files, const CgroupHierarchy& hierarchy, std::string_view controller,
                                             std::int32_t pid) {
  const base::Result<std::string> text = files.read(fmt::format("/proc/{}/cgroup", pid));
  if (!text) {
    return std::nullopt;
  }
  // "4:cpu,cpuacct:/path", of cgroup v2 "0::/path".
  for (const std::string_view line : base::split(*text, '\n')) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) {
      continue;
    }
    const std::string_view id = line.substr(0, first);
    const std::vector<std::string_view> controllers = base::split(line.substr(first + 1, second - first - 1), ',');
    const bool matches =
        hierarchy.version == 2 ? id == "0" : std::find(controllers.begin(), controllers.end(), controller) != controllers.end();
    const std::string_view path = line.substr(second + 1);
    // "/../..": of a process outside of our cgroup namespace.
    if (matches && path.starts_with('/') && !path.starts_with("/..")) {
      return std::string(path);
    }
  }
  return std::nullopt;
}

std::optional<std::string> cgroup_directory(const CgroupHierarchy& hierarchy, std::string_view cgroup) {
  if (hierarchy.root != "/") {
    if (!cgroup.starts_with(hierarchy.root) || (cgroup.size() > hierarchy.root.size() && cgroup[hierarchy.root.size()] != '/')) {
      return std::nullopt;
    }
    cgroup.remove_prefix(hierarchy.root.size());
  }
  return hierarchy.mount_point + std::string(cgroup == "/" ? "" : cgroup);
}

std::optional<CpuQuota> read_cpu_quota(const FileTree& files, const CgroupHierarchy& hierarchy, std::string_view cgroup) {
  const std::optional<std::string> directory = cgroup_directory(hierarchy, cgroup);
  if (!directory) {
    return std::nullopt;
  }
  if (hierarchy.version == 2) {
    const std::optional<std::string> line = files.read_line(*directory + "/cpu.max");
    return line ? parse_cpu_max(*line) : std::nullopt;
  }
  // -1: none.
  const std::optional<std::int64_t> quota_ns = read_microseconds(files, *directory + "/cpu.cfs_quota_us");
  const std::optional<std::int64_t> period_ns =
      quota_ns ? read_microseconds(files, *directory + "/cpu.cfs_period_us") : std::nullopt;
  return period_ns ? std::optional(CpuQuota{*quota_ns, *period_ns}) : std::nullopt;
}

std::optional<CpuQuota> parse_cpu_max(std::string_view text) {
  const std::vector<std::string_view> fields = base::split_fields(text);
  if (fields.size() != 2) {
    return std::nullopt;
  }
  const std::optional<std::int64_t> quota_ns = parse_microseconds(fields[0]);
  const std::optional<std::int64_t> period_ns = parse_microseconds(fields[1]);
  return quota_ns && period_ns ? std::optional(CpuQuota{*quota_ns, *period_ns}) : std::nullopt;
}

base::Result<ThrottleCounts> read_throttle_counts(const FileTree& files, const CgroupHierarchy& hierarchy,
                                                  std::string_view cgroup) {
  const std::optional<std::string> directory = cgroup_directory(hierarchy, cgroup);
  if (!directory) {
    return base::Error{"read cpu.stat of", std::string(cgroup), "its hierarchy does not show it", ""};
  }
  const base::Result<std::string> text = files.read(*directory + "/cpu.stat");
  return text ? parse_cpu_stat(*text) : text.error();
}

base::Result<ThrottleCounts> parse_cpu_stat(std::string_view text) {
  constexpr std::int64_t largest_us = std::int64_t{1} << 52U;
  std::optional<std::int64_t> periods;
  std::optional<std::int64_t> throttled;
  std::optional<std::int64_t> throttled_ns;
  for (const std::string_view line : base::split(text, '\n')) {
    const std::vector<std::string_view> fields = base::split_fields(line);
    if (fields.size() != 2) {
      continue;
    }
    const std::optional<std::int64_t> value = parse_number<std::int64_t>(fields[1]);
    if (fields[0] == "nr_periods") {
      periods = value;
    } else if (fields[0] == "nr_throttled") {
      throttled = value;
    } else if (fields[0] == "throttled_time") {
      throttled_ns = value;
    } else if (fields[0] == "throttled_usec" && value && *value <= largest_us) {
      throttled_ns = *value * base::ns_per_us;
    }
  }
  const auto is_count = [](const std::optional<std::int64_t>& value) { return value && *value >= 0; };
  if (!is_count(periods) || !is_count(throttled) || !is_count(throttled_ns)) {
    return base::Error{"read", "cpu.stat", "it lacks nr_periods, nr_throttled or the time of throttling", ""};
  }
  return ThrottleCounts{*periods, *throttled, *throttled_ns};
}

}  // namespace stallscope::host
