// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

// Formulas and where they come from: docs/design/0005-shape-statistics.md.
namespace stallscope::shape {

/// The middle value; of an even number of values the lower of the two in the middle. 0 of none. Reorders the values.
[[nodiscard]] std::int64_t median_in_place(std::span<std::int64_t> values);
[[nodiscard]] std::int64_t median(std::vector<std::int64_t> values);

/// The factor that makes the median absolute deviation of a normal distribution its standard deviation.
inline constexpr double mad_to_standard_deviation = 1.4826;

struct Point {
  double x = 0;
  double y = 0;
};

/// A line by least squares.
struct SlopeFit {
  double slope = 0;
  /// Nothing with two points: a line always fits two points.
  std::optional<double> standard_error;
};

/// Nothing when fewer than two points differ in x.
[[nodiscard]] std::optional<SlopeFit> fit_line(std::span<const Point> points);

struct Interval {
  double low = 0;
  double high = 0;
};
/// Where the true slope lies with 95 % confidence, by Student's t with point_count - 2 degrees of freedom. Nothing without a
/// standard error.
[[nodiscard]] std::optional<Interval> slope_interval(const SlopeFit& fit, std::int64_t point_count);

/// The probability of at least `hits` in `trials` independent trials that each hit with `probability`.
[[nodiscard]] double binomial_tail(std::int64_t hits, std::int64_t trials, double probability);

/// The probability of at least `count` events where `mean` are expected and they are independent.
[[nodiscard]] double poisson_tail(std::int64_t count, double mean);

/// The natural logarithm of the number of ways to choose `chosen` of `total`; of 0 ways, minus infinity.
[[nodiscard]] double log_choose(std::int64_t total, std::int64_t chosen);

/// The natural logarithm of the probability that, of `drawn` drawn at random out of `total` of which `marked` are marked, at least
/// `hits` are marked: one-sided Fisher's exact test. Minus infinity where it is impossible.
[[nodiscard]] double log_hypergeometric_tail(std::int64_t hits, std::int64_t total, std::int64_t marked, std::int64_t drawn);

/// The natural logarithm of the chance, by Fisher's method, that independent tests together come out as small as these did:
/// `log_chances` is the sum of the logarithms of their chances.
[[nodiscard]] double log_combined_chance(double log_chances, std::int64_t test_count);

}  // namespace stallscope::shape
