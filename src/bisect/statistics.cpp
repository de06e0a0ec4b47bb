// SPDX-License-Identifier: Apache-2.0
#include "bisect/statistics.h"

#include <algorithm>
#include <cmath>

namespace stallscope::bisect {
namespace {

/// The probability of at most `count` events where `expected` are expected.
double poisson_at_most(std::int64_t count, double expected) {
  if (count < 0) {
    return 0;
  }
  // In logarithms: exp(-expected) is 0 in a double from 746 on.
  double log_term = -expected;
  double sum = std::exp(log_term);
  for (std::int64_t k = 1; k <= count; ++k) {
    log_term += std::log(expected / static_cast<double>(k));
    sum += std::exp(log_term);
  }
  return std::min(sum, 1.0);
}

/// The expectation at which at most `count` events have this probability.
double expectation_for(std::int64_t count, double probability) {
  double low = 0;
  double high = 10 + (2 * static_cast<double>(count)) + (10 * std::sqrt(static_cast<double>(count)));
  constexpr int halvings = 60;
  for (int i = 0; i < halvings; ++i) {
    const double middle = (low + high) / 2;
    (poisson_at_most(count, middle) > probability ? low : high) = middle;
  }
  return (low + high) / 2;
}

const double log_hit = std::log(SequentialTest::crossing_share / SequentialTest::clean_share);
const double log_miss = std::log((1 - SequentialTest::crossing_share) / (1 - SequentialTest::clean_share));
const double log_bound = std::log((1 - SequentialTest::error) / SequentialTest::error);

}  // namespace

Interval wilson_interval(std::int64_t hits, std::int64_t trials) {
  if (trials <= 0) {
    return {0, 1};
  }
  constexpr double z = 1.959964;
  const auto n = static_cast<double>(trials);
  const double share = static_cast<double>(hits) / n;
  const double scale = 1 / (1 + (z * z / n));
  const double centre = scale * (share + (z * z / (2 * n)));
  const double half = scale * z * std::sqrt((share * (1 - share) / n) + (z * z / (4 * n * n)));
  return {hits == 0 ? 0 : std::max(0.0, centre - half), hits == trials ? 1 : std::min(1.0, centre + half)};
}

Interval poisson_interval(std::int64_t count) {
  constexpr double tail = 0.025;
  return {count == 0 ? 0 : expectation_for(count - 1, 1 - tail), expectation_for(count, tail)};
}

double poisson_upper_bound(std::int64_t count) {
  return expectation_for(count, 0.05);
}

void SequentialTest::add(bool hit) {
  ++exposed_;
  hits_ += hit ? 1 : 0;
}

double SequentialTest::log_ratio() const {
  return (static_cast<double>(hits_) * log_hit) + (static_cast<double>(exposed_ - hits_) * log_miss);
}

bool SequentialTest::hits_too_few() const {
  return wilson_interval(hits_, exposed_).high < least_crossing_share;
}

SequentialTest::Decision SequentialTest::decision() const {
  const double ratio = log_ratio();
  if (ratio <= -log_bound) {
    return Decision::clean;
  }
  return ratio >= log_bound && !hits_too_few() ? Decision::crosses : Decision::open;
}

std::int64_t SequentialTest::stalls_missing() const {
  if (decision() != Decision::open) {
    return 0;
  }
  const double ratio = log_ratio();
  if (ratio >= log_bound) {
    // What tells two causes apart is about as much again.
    return exposed_;
  }
  const double steps = hits_ * 2 >= exposed_ && exposed_ > 0 ? (log_bound - ratio) / log_hit : (log_bound + ratio) / -log_miss;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(steps)));
}

}  // namespace stallscope::bisect
