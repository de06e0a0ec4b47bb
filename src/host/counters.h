// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "host/file_tree.h"

namespace stallscope::host {

/// A counter of one CPU at one moment.
struct CounterValue {
  /// "softnet.received", "softnet.dropped", "softnet.time_squeeze" (packets, packets, events; 32 bits wide in the kernel, so they
  /// wrap), "steal" (nanoseconds).
  std::string name;
  std::int32_t cpu = -1;
  std::int64_t value = 0;

  friend bool operator==(const CounterValue&, const CounterValue&) = default;
};

/// Both files, read once. A file that cannot be read is an error: counters that are missing must not look like zeros.
[[nodiscard]] base::Result<std::vector<CounterValue>> read_counters(const FileTree& files = {});

/// /proc/net/softnet_stat: one row per online CPU, system-wide whatever the network namespace. Rows carry their CPU from Linux 5.10
/// on (column 13, commit 7d58e6555870; 15 columns from 6.4 on, commit 59da2d7b0e99); before, the n-th row belongs to the n-th of
/// `online_cpus`.
[[nodiscard]] base::Result<std::vector<CounterValue>> parse_softnet_stat(std::string_view text,
                                                                         std::span<const std::int32_t> online_cpus);

/// Steal of the cpuN rows of /proc/stat. `ticks_per_second` is sysconf(_SC_CLK_TCK).
[[nodiscard]] base::Result<std::vector<CounterValue>> parse_steal(std::string_view text, std::int64_t ticks_per_second);

/// How far a 32-bit softnet counter went on, across one wrap.
[[nodiscard]] std::int64_t softnet_increase(std::int64_t before, std::int64_t after);

}  // namespace stallscope::host
