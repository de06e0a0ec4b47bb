// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"

namespace stallscope::lab::memcg_stat_flush {

/// Counts the runs of the kernel's own worker that flushes all memory cgroups every 2 s (flush_memcg_stats_dwork,
/// mm/memcontrol.c, from Linux 5.15 on): a perf counter per CPU on the tracepoint workqueue_execute_start, filtered by function.
class FlushWorkerWatch {
 public:
  /// Needs tracefs, perf events and the addresses of /proc/kallsyms; not every kernel has all of them.
  [[nodiscard]] static base::Result<FlushWorkerWatch> open();
  /// Runs that have started since it was opened.
  [[nodiscard]] base::Result<std::int64_t> runs_count() const;

 private:
  explicit FlushWorkerWatch(std::vector<base::OwnedFd> counters) : counters_(std::move(counters)) {}
  std::vector<base::OwnedFd> counters_;
};

/// The address of a function in the text of /proc/kallsyms; none where it is missing or hidden.
[[nodiscard]] std::optional<std::uint64_t> find_symbol(std::string_view kallsyms, std::string_view name);

}  // namespace stallscope::lab::memcg_stat_flush
