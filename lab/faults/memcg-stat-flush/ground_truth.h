// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace stallscope::lab {

/// One read of memory.stat by the lab's reader. Times are of CLOCK_MONOTONIC.
struct StatRead {
  /// Around the first read(2), the one that flushes.
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  /// From the first touch of a zombie's page to the end of the read: when the pending updates could be flushed.
  std::int64_t window_start_ns = 0;
  std::int64_t window_end_ns = 0;
};

/// What stays the same from read to read.
struct ReaderIdentity {
  pid_t pid = 0;
  int cpu = 0;
  /// Full path of the memory.stat it reads.
  std::string stat_path;
};

inline constexpr const char* reader_comm = "lab-reader";

enum class FlushedBy : std::uint8_t { reader, kernel_worker };

/// Tells from a read's length who did its flush. The kernel's own worker flushes everything every 2 s (flush_memcg_stats_dwork,
/// mm/memcontrol.c): when it runs between touch and read it takes all or part of the work, the read is short, and it is the CPU
/// of the worker that was held up instead. When both flush at once the reader waits for the worker and its read is no shorter.
class FlushJudge {
 public:
  /// Reads known to have found everything pending.
  explicit FlushJudge(std::vector<std::int64_t> calibration_lengths_ns) : lengths_ns_(std::move(calibration_lengths_ns)) {}

  /// A read shorter than 90 % of the typical one was not the reader's own flush. Differences below 0.3 ms are noise. Typical is
  /// the median of the reads that were.
  [[nodiscard]] FlushedBy judge(std::int64_t length_ns);

 private:
  std::vector<std::int64_t> lengths_ns_;
};

/// The lines of the ground truth, without their newline: JSON objects.
[[nodiscard]] std::string ready_line(const ReaderIdentity& reader, int zombies_count, std::int64_t kernel_total_count);
[[nodiscard]] std::string stall_line(const ReaderIdentity& reader, const StatRead& read, FlushedBy flushed_by);
[[nodiscard]] std::string control_line(const ReaderIdentity& reader, const StatRead& read);
[[nodiscard]] std::string end_line(std::int64_t reads_count);

}  // namespace stallscope::lab
