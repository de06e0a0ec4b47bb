// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "evidence/records.h"

namespace stallscope::census {

/// A thread that was in uninterruptible sleep ("D") at one moment.
struct BlockedThread {
  std::int32_t pid = 0;
  std::int32_t tgid = 0;
  std::string comm;
  /// The kernel function it sleeps in (/proc/PID/wchan); empty where the kernel does not say.
  std::string waits_in;
  /// What tells this thread, and this sleep of it, from a later one: its start, and how often it has given up a CPU.
  std::uint64_t start_ticks = 0;
  std::uint64_t switch_count = 0;
};

struct BlockedThreads {
  std::int64_t taken_ns = 0;
  std::vector<BlockedThread> threads;
};

/// Looks at every thread once, about 20 us for each. Threads that end meanwhile are left out. An error only where there is no
/// /proc below `root`.
[[nodiscard]] base::Result<BlockedThreads> read_blocked_threads(const std::string& root);

/// Those that did not run between the two looks: blocked for the time between them, at least. Whether a fatal signal could end
/// the sleep, in which case khungtaskd leaves it alone (kernel/hung_task.c), /proc does not tell.
[[nodiscard]] std::vector<evidence::BlockedTaskRecord> blocked_throughout(const BlockedThreads& before,
                                                                          const BlockedThreads& after);

/// kernel.hung_task_timeout_secs and kernel.hung_task_panic, as far as the kernel has them (CONFIG_DETECT_HUNG_TASK).
[[nodiscard]] std::vector<evidence::SettingRecord> read_hung_task_settings(const std::string& root);

}  // namespace stallscope::census
