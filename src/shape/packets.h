// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace stallscope::shape {

/// 36 years of uptime. Times beyond are impossible; differences of times below cannot overflow.
inline constexpr std::int64_t latest_time_ns = std::int64_t{1} << 60U;

/// A packet and its answer, from whatever saw both: a prober, a capture file. All times are of one clock, in nanoseconds.
struct TimedPacket {
  static constexpr std::int64_t not_answered = -1;

  /// A small number for each flow (what a receiving host hashes to one queue: addresses, protocol, ports).
  std::uint32_t flow = 0;
  /// Within the flow, counting up.
  std::int64_t sequence = 0;
  /// When it was due; equal to sent_ns where nothing planned it.
  std::int64_t intended_ns = 0;
  std::int64_t sent_ns = 0;
  /// When the answer arrived, or not_answered.
  std::int64_t answered_ns = not_answered;

  [[nodiscard]] bool answered() const { return answered_ns != not_answered; }
  /// Whether all of its times can be.
  [[nodiscard]] bool possible() const {
    const auto in_range = [](std::int64_t time_ns) { return time_ns >= 0 && time_ns <= latest_time_ns; };
    return in_range(intended_ns) && in_range(sent_ns) && (!answered() || (in_range(answered_ns) && answered_ns >= sent_ns));
  }
  [[nodiscard]] std::int64_t rtt_ns() const { return answered_ns - sent_ns; }
};

}  // namespace stallscope::shape
