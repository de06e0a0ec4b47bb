// SPDX-License-Identifier: Apache-2.0
#include "shape/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

namespace stallscope::shape {
namespace {

constexpr double minus_infinity = -std::numeric_limits<double>::infinity();
/// A term this much smaller than the sum so far does not change it any more.
constexpr double negligible = 1e-18;

/// lgamma_r, because lgamma writes a global.
double log_factorial(std::int64_t n) {
  int sign = 0;
  return ::lgamma_r(static_cast<double>(n) + 1.0, &sign);
}

/// Student's t that 97.5 % stay below. Up to 10 degrees of freedom from the table, from there on by the expansion of Abramowitz and
/// Stegun, 26.7.5, which is then right to three decimals.
double student_t_975(std::int64_t degrees) {
  constexpr std::array<double, 10> table = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228};
  if (degrees <= static_cast<std::int64_t>(table.size())) {
    return table[static_cast<std::size_t>(std::max<std::int64_t>(degrees, 1) - 1)];
  }
  constexpr double z = 1.959964;
  const auto n = static_cast<double>(degrees);
  const double cube = z * z * z;
  return z + ((cube + z) / (4 * n)) + (((5 * cube * z * z) + (16 * cube) + (3 * z)) / (96 * n * n));
}

}  // namespace

std::int64_t median_in_place(std::span<std::int64_t> values) {
  if (values.empty()) {
    return 0;
  }
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::int64_t median(std::vector<std::int64_t> values) {
  return median_in_place(values);
}

std::optional<SlopeFit> fit_line(std::span<const Point> points) {
  const auto count = static_cast<double>(points.size());
  double mean_x = 0;
  double mean_y = 0;
  for (const Point& point : points) {
    mean_x += point.x / count;
    mean_y += point.y / count;
  }
  double sum_xx = 0;
  double sum_xy = 0;
  for (const Point& point : points) {
    sum_xx += (point.x - mean_x) * (point.x - mean_x);
    sum_xy += (point.x - mean_x) * (point.y - mean_y);
  }
  if (points.size() < 2 || sum_xx <= 0) {
    return std::nullopt;
  }
  SlopeFit fit;
  fit.slope = sum_xy / sum_xx;
  if (points.size() > 2) {
    double residual_squares = 0;
    for (const Point& point : points) {
      const double residual = point.y - mean_y - (fit.slope * (point.x - mean_x));
      residual_squares += residual * residual;
    }
    fit.standard_error = std::sqrt(residual_squares / (count - 2) / sum_xx);
  }
  return fit;
}

std::optional<Interval> slope_interval(const SlopeFit& fit, std::int64_t point_count) {
  if (!fit.standard_error || point_count <= 2) {
    return std::nullopt;
  }
  const double reach = student_t_975(point_count - 2) * *fit.standard_error;
  return Interval{fit.slope - reach, fit.slope + reach};
}

double binomial_tail(std::int64_t hits, std::int64_t trials, double probability) {
  if (hits <= 0) {
    return 1.0;
  }
  if (hits > trials || probability <= 0) {
    return 0.0;
  }
  if (probability >= 1) {
    return 1.0;
  }
  // In logarithms: the coefficients overflow a double from about 1,000 trials on.
  double tail = 0;
  for (std::int64_t k = hits; k <= trials; ++k) {
    const double log_term = log_choose(trials, k) + (static_cast<double>(k) * std::log(probability)) +
                            (static_cast<double>(trials - k) * std::log1p(-probability));
    tail += std::exp(log_term);
  }
  return std::min(tail, 1.0);
}

double poisson_tail(std::int64_t count, double mean) {
  if (count <= 0) {
    return 1.0;
  }
  if (mean <= 0) {
    return 0.0;
  }
  const double log_mean = std::log(mean);
  if (static_cast<double>(count) > mean) {
    // Above the mean the terms fall: they are summed directly, which keeps small probabilities exact.
    double tail = 0;
    for (std::int64_t k = count;; ++k) {
      const double term = std::exp((static_cast<double>(k) * log_mean) - mean - log_factorial(k));
      tail += term;
      if (term <= tail * negligible) {
        return std::min(tail, 1.0);
      }
    }
  }
  double below = 0;
  for (std::int64_t k = count - 1; k >= 0; --k) {
    const double term = std::exp((static_cast<double>(k) * log_mean) - mean - log_factorial(k));
    below += term;
    if (term <= below * negligible) {
      break;
    }
  }
  return std::clamp(1.0 - below, 0.0, 1.0);
}

double log_choose(std::int64_t total, std::int64_t chosen) {
  if (chosen < 0 || chosen > total) {
    return minus_infinity;
  }
  return log_factorial(total) - log_factorial(chosen) - log_factorial(total - chosen);
}

double log_hypergeometric_tail(std::int64_t hits, std::int64_t total, std::int64_t marked, std::int64_t drawn) {
  const std::int64_t lowest = std::max<std::int64_t>(0, drawn - (total - marked));
  const std::int64_t highest = std::min(marked, drawn);
  if (hits <= lowest) {
    return 0.0;
  }
  if (hits > highest) {
    return minus_infinity;
  }
  const auto log_term = [&](std::int64_t k) {
    return log_choose(marked, k) + log_choose(total - marked, drawn - k) - log_choose(total, drawn);
  };
  // Relative to the first term, so that probabilities far below the smallest double keep their logarithm.
  const double first = log_term(hits);
  double sum = 1;
  double largest = 1;
  for (std::int64_t k = hits + 1; k <= highest; ++k) {
    const double term = std::exp(log_term(k) - first);
    sum += term;
    largest = std::max(largest, term);
    if (term < largest && term <= sum * negligible) {
      break;
    }
  }
  return std::min(0.0, first + std::log(sum));
}

double log_combined_chance(double log_chances, std::int64_t test_count) {
  if (log_chances >= 0 || test_count <= 0) {
    return 0.0;
  }
  if (std::isinf(log_chances)) {
    return minus_infinity;
  }
  // The tail of chi-squared with twice as many degrees of freedom as tests, which for an even number is a Poisson sum.
  const double half = -log_chances;
  double largest = minus_infinity;
  const auto log_term = [&](std::int64_t k) { return (static_cast<double>(k) * std::log(half)) - log_factorial(k); };
  for (std::int64_t k = 0; k < test_count; ++k) {
    largest = std::max(largest, log_term(k));
  }
  double sum = 0;
  for (std::int64_t k = 0; k < test_count; ++k) {
    sum += std::exp(log_term(k) - largest);
  }
  return std::min(0.0, log_chances + largest + std::log(sum));
}

}  // namespace stallscope::shape
