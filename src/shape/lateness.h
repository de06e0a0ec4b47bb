// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/units.h"

// What counts as late, on a path and for a packet.
namespace stallscope::shape {

/// A reply is late from this much above the median RTT. Longer than a scheduling tick of the slowest common configuration (4 ms at
/// HZ=250), so that ordinary scheduling of sender or receiver stays below it; short against the 10 ms and more people complain of.
inline constexpr std::int64_t late_floor_ns = 5 * base::ns_per_ms;
/// ... or from this many standard deviations: on a path whose RTT varies by itself, the floor alone would call jitter a stall.
inline constexpr std::int64_t late_noise_factor = 5;

struct Baseline {
  /// Median RTT, and 1.4826 times the median absolute deviation from it (the standard deviation, were the RTTs normal).
  std::int64_t rtt_ns = 0;
  std::int64_t noise_ns = 0;
  /// A reply later than this, counted from the intended send time, is late.
  std::int64_t late_after_ns = late_floor_ns;
};

/// Of RTTs, which it overwrites. Where even the middle one is late measured by the lower half, that half alone decides: right as
/// long as fewer than three quarters of the packets are late.
[[nodiscard]] Baseline measure_baseline(std::span<std::int64_t> rtts);

/// What became of one packet.
enum class Fate : std::uint8_t {
  on_time,
  /// Its reply came late.
  late,
  /// It was sent late and its reply came promptly: the sender's own delay.
  own_late,
  /// No reply, long enough before the end.
  lost,
  /// No reply yet at the end: neither lost nor late.
  undecided,
  /// Its times are impossible; ignored.
  unusable,
};

/// Of an answered packet: on_time, late or own_late.
[[nodiscard]] Fate judge_answer(const Baseline& baseline, std::int64_t intended_ns, std::int64_t sent_ns, std::int64_t answered_ns);

}  // namespace stallscope::shape
