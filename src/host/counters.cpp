// SPDX-License-Identifier: Apache-2.0
#include "host/counters.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <utility>

#include "base/text.h"
#include "base/units.h"
#include "host/kernel.h"
#include "host/numbers.h"

namespace stallscope::host {
namespace {

constexpr std::string_view softnet_path = "/proc/net/softnet_stat";
constexpr std::string_view stat_path = "/proc/stat";

constexpr std::size_t received_column = 0;
constexpr std::size_t dropped_column = 1;
constexpr std::size_t time_squeeze_column = 2;
constexpr std::size_t cpu_column = 12;
/// Of Linux 3.10, which is older than any kernel that can be traced.
constexpr std::size_t fewest_softnet_columns = 11;

base::Error malformed(std::string_view path, std::size_t line_number, std::string_view why) {
  return {"read", std::string(path), fmt::format("line {}: {}", line_number, why), "This kernel's format is not known."};
}

}  // namespace

base::Result<std::vector<CounterValue>> parse_softnet_stat(std::string_view text, std::span<const std::int32_t> online_cpus) {
  constexpr std::array<std::pair<std::string_view, std::size_t>, 3> kept = {
      {{"softnet.received", received_column}, {"softnet.dropped", dropped_column}, {"softnet.time_squeeze", time_squeeze_column}}};
  std::vector<CounterValue> counters;
  std::size_t row = 0;
  for (const std::string_view line : base::split(text, '\n')) {
    const std::vector<std::string_view> columns = base::split_fields(line);
    if (columns.empty()) {
      continue;
    }
    if (columns.size() < fewest_softnet_columns) {
      return malformed(softnet_path, row + 1, "fewer columns than any kernel prints");
    }
    std::optional<std::int32_t> cpu;
    if (columns.size() > cpu_column) {
      cpu = parse_number<std::int32_t>(columns[cpu_column], 16);
    } else if (row < online_cpus.size()) {
      cpu = online_cpus[row];
    }
    if (!cpu || *cpu < 0) {
      return malformed(softnet_path, row + 1, "it cannot be told which CPU it is of");
    }
    for (const auto& [name, column] : kept) {
      const std::optional<std::uint32_t> value = parse_number<std::uint32_t>(columns[column], 16);
      if (!value) {
        return malformed(softnet_path, row + 1, "not a number in hexadecimal");
      }
      counters.push_back({std::string(name), *cpu, *value});
    }
    ++row;
  }
  if (counters.empty()) {
    return malformed(softnet_path, 1, "empty");
  }
  return counters;
}

base::Result<std::vector<CounterValue>> parse_steal(std::string_view text, std::int64_t ticks_per_second) {
  constexpr std::string_view prefix = "cpu";
  constexpr std::size_t steal_field = 8;  // cpuN user nice system idle iowait irq softirq steal
  constexpr std::int64_t longest_steal_seconds = std::int64_t{100} * 365 * 24 * 3600;
  std::vector<CounterValue> counters;
  std::size_t row = 0;
  for (const std::string_view line : base::split(text, '\n')) {
    ++row;
    const std::vector<std::string_view> fields = base::split_fields(line);
    if (fields.empty() || !fields[0].starts_with(prefix) || fields[0] == prefix) {
      continue;
    }
    const std::int32_t cpu = parse_number<std::int32_t>(fields[0].substr(prefix.size())).value_or(-1);
    const std::int64_t ticks = fields.size() > steal_field ? parse_number<std::int64_t>(fields[steal_field]).value_or(-1) : -1;
    if (cpu < 0 || ticks < 0 || ticks / ticks_per_second > longest_steal_seconds) {
      return malformed(stat_path, row, "no steal time of a CPU");
    }
    // Whole seconds apart from the rest, so that the product does not overflow.
    const std::int64_t rest = ticks % ticks_per_second;
    counters.push_back({"steal", cpu, (ticks / ticks_per_second * base::ns_per_s) + (rest * base::ns_per_s / ticks_per_second)});
  }
  if (counters.empty()) {
    return malformed(stat_path, 1, "no row of a CPU");
  }
  return counters;
}

std::int64_t softnet_increase(std::int64_t before, std::int64_t after) {
  return static_cast<std::uint32_t>(after) - static_cast<std::uint32_t>(before);
}

base::Result<std::vector<CounterValue>> read_counters(const FileTree& files) {
  const base::Result<std::string> softnet = files.read(softnet_path);
  if (!softnet) {
    return softnet.error();
  }
  const base::Result<std::string> stat = files.read(stat_path);
  if (!stat) {
    return stat.error();
  }
  const std::vector<std::int32_t> online = parse_cpu_list(files.read_line("/sys/devices/system/cpu/online").value_or(""));
  base::Result<std::vector<CounterValue>> counters = parse_softnet_stat(*softnet, online);
  if (!counters) {
    return counters;
  }
  base::Result<std::vector<CounterValue>> steal = parse_steal(*stat, ::sysconf(_SC_CLK_TCK));
  if (!steal) {
    return steal;
  }
  counters->insert(counters->end(), steal->begin(), steal->end());
  return counters;
}

}  // namespace stallscope::host
