// SPDX-License-Identifier: Apache-2.0
#include "diagnose/statistics.h"

#include <algorithm>
#include <cmath>

namespace stallscope::diagnose {

std::int64_t median(std::vector<std::int64_t> values) {
  if (values.empty()) {
    return 0;
  }
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
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
  // In logarithms: the coefficients overflow a double from about 1,000 trials on. lgamma_r, because lgamma writes a global.
  const auto log_factorial = [](std::int64_t n) {
    int sign = 0;
    return ::lgamma_r(static_cast<double>(n) + 1.0, &sign);
  };
  double tail = 0;
  for (std::int64_t k = hits; k <= trials; ++k) {
    const double log_term = log_factorial(trials) - log_factorial(k) - log_factorial(trials - k) +
                            (static_cast<double>(k) * std::log(probability)) +
                            (static_cast<double>(trials - k) * std::log1p(-probability));
    tail += std::exp(log_term);
  }
  return std::min(tail, 1.0);
}

}  // namespace stallscope::diagnose
