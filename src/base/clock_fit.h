// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

// Two hosts' clocks share neither their zero nor quite their rate. A packet that crossed from one to the other and back
// bounds their difference with no help from either's wall clock: it was received after it was sent, and answered after it was
// received (the bounds of NTP: RFC 5905, section 8, without the assumption that both ways take equally long).
namespace stallscope::base {

/// What one probe says of the far clock less the near one.
struct ClockBound {
  /// By the near clock.
  std::int64_t at_ns = 0;
  /// The difference is at least and at most this.
  std::int64_t low_ns = 0;
  std::int64_t high_ns = 0;
};

struct ClockFit {
  /// Far less near at `at_ns` of the near clock.
  std::int64_t difference_ns = 0;
  std::int64_t at_ns = 0;
  /// Nanoseconds that the far clock gains in each of the near one's.
  double drift = 0;
  /// The true drift is this near: the line may turn within the uncertainty at both ends. Infinite where all bounds are of one time.
  double drift_uncertainty = 0;
  /// The true difference is this near: half of what the bounds leave open, or, where no straight line fits all of them, half of
  /// what they contradict one another by.
  std::int64_t uncertainty_ns = 0;

  [[nodiscard]] std::int64_t to_far(std::int64_t near_ns) const;
  [[nodiscard]] std::int64_t to_near(std::int64_t far_ns) const;
};

/// The straight line through the bounds. Nothing without bounds. Takes time and memory linear in their number.
[[nodiscard]] std::optional<ClockFit> fit_clocks(const std::vector<ClockBound>& bounds);

}  // namespace stallscope::base
