// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace stallscope::lab::memcg_stat_flush {

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

}  // namespace stallscope::lab::memcg_stat_flush
