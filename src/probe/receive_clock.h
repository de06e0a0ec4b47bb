// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

namespace stallscope::probe {

/// Turns the kernel's receive timestamps, which are CLOCK_REALTIME, into CLOCK_MONOTONIC, and notices when the wall clock is
/// stepped meanwhile. Both clocks are slewed together, so their offset changes by steps alone. Pure: it is told every time.
class ReceiveClock {
 public:
  /// A change of the offset by more than this is a step; less is the error of reading two clocks one after the other.
  static constexpr std::int64_t step_threshold_ns = 100'000;

  /// Tells what the clocks say right after replies were read: `now_ns` monotonic, `realtime_offset_ns` realtime - monotonic. Call
  /// it once for each batch, before converting the batch's timestamps.
  void observe(std::int64_t now_ns, std::int64_t realtime_offset_ns);

  /// The monotonic time of a kernel timestamp of the batch. A reply cannot come before its request was sent nor after it was
  /// read: a timestamp that says so, is missing, or may stem from before a step is replaced by the time of reading and counted.
  [[nodiscard]] std::int64_t to_monotonic(std::optional<std::int64_t> received_realtime_ns, std::int64_t sent_ns);

  [[nodiscard]] std::int64_t steps() const { return steps_; }
  [[nodiscard]] std::int64_t replaced() const { return replaced_; }

 private:
  std::int64_t now_ns_ = 0;
  std::optional<std::int64_t> offset_ns_;
  bool stepped_in_batch_ = false;
  std::int64_t steps_ = 0;
  std::int64_t replaced_ = 0;
};

}  // namespace stallscope::probe
