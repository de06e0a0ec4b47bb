// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace stallscope::bisect {

/// A 95 % confidence interval.
struct Interval {
  double low = 0;
  double high = 0;
};

/// Of a share, from `hits` of `trials` (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927). [0, 1] of no trials.
[[nodiscard]] Interval wilson_interval(std::int64_t hits, std::int64_t trials);

/// Of the expected number of events where `count` came (exact: F. Garwood, Biometrika 28, 1936).
[[nodiscard]] Interval poisson_interval(std::int64_t count);

/// With 95 % confidence no more than this were to be expected where `count` came: 3.0 for none.
[[nodiscard]] double poisson_upper_bound(std::int64_t count);

/// Whether a rung crosses the cause of stalls: Wald's sequential probability ratio test over the stalls it was exposed to
/// (A. Wald, Ann. Math. Stat. 16, 1945). The same answer with far fewer stalls than a test of fixed length needs, and it may be
/// looked at after each.
class SequentialTest {
 public:
  /// A rung that crosses the cause is late in this share of stalls. Not 1: its packets may meet another CPU or queue.
  static constexpr double crossing_share = 0.9;
  /// What is clearly late in less than this share (95 % confidence) is not decided, however unlikely coincidence is: more likely
  /// some of the stalls have another cause.
  static constexpr double least_crossing_share = 0.8;
  /// One that does not is late in at most this share, by coincidence.
  static constexpr double clean_share = 0.05;
  /// The probability of either mistake.
  static constexpr double error = 0.001;

  enum class Decision : std::uint8_t { open, crosses, clean };

  void add(bool hit);
  [[nodiscard]] Decision decision() const;
  [[nodiscard]] std::int64_t hits() const { return hits_; }
  [[nodiscard]] std::int64_t exposed() const { return exposed_; }
  /// How many more stalls decide it if they go on as most did so far; 0 once it is decided.
  [[nodiscard]] std::int64_t stalls_missing() const;

 private:
  [[nodiscard]] double log_ratio() const;
  [[nodiscard]] bool hits_too_few() const;

  std::int64_t hits_ = 0;
  std::int64_t exposed_ = 0;
};

}  // namespace stallscope::bisect
