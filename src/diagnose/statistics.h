// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "diagnose/diagnosis.h"

namespace stallscope::diagnose {

/// The middle value; of an even number of values the lower of the two in the middle. 0 of none.
[[nodiscard]] std::int64_t median(std::vector<std::int64_t> values);

struct Point {
  double x = 0;
  double y = 0;
};

/// Least squares. Nothing when fewer than two points differ in x.
[[nodiscard]] std::optional<SlopeFit> fit_line(std::span<const Point> points);

/// The probability of at least `hits` in `trials` independent trials that each hit with `probability`.
[[nodiscard]] double binomial_tail(std::int64_t hits, std::int64_t trials, double probability);

}  // namespace stallscope::diagnose
