// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
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

/// Tells who flushed what the touches left pending. The kernel's own worker flushes everything every 2 s: when it runs between
/// touch and read it takes all or part of the work, and the CPU it runs on is held up as well as, or instead of, the reader's.
class FlushJudge {
 public:
  /// Lengths of reads that found everything pending.
  explicit FlushJudge(std::vector<std::int64_t> calibration_lengths_ns) : lengths_ns_(std::move(calibration_lengths_ns)) {}

  /// Where it was counted whether the worker ran in the read's window, that decides. Elsewhere a read shorter than 90 % of the
  /// typical one, and by more than 0.3 ms of noise, was not all the reader's; typical is the median of those that were.
  [[nodiscard]] FlushedBy judge(std::int64_t length_ns, std::optional<bool> worker_ran);

 private:
  std::vector<std::int64_t> lengths_ns_;
};

/// The lines of the ground truth, without their newline: JSON objects.
[[nodiscard]] std::string ready_line(const ReaderIdentity& reader, int zombies_count, std::int64_t kernel_total_count,
                                     bool worker_is_watched);
[[nodiscard]] std::string stall_line(const ReaderIdentity& reader, const StatRead& read, FlushedBy flushed_by);
[[nodiscard]] std::string control_line(const ReaderIdentity& reader, const StatRead& read);
[[nodiscard]] std::string end_line(std::int64_t reads_count);

}  // namespace stallscope::lab
