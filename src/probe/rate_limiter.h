// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/units.h"

namespace stallscope::probe {

/// A budget of so many events per second for each key, a second's worth at once. Keys that fall into one of a fixed number of
/// places share it. Pure: it is told the time.
class RateLimiter {
 public:
  static constexpr std::size_t places = 4096;

  explicit RateLimiter(std::int64_t per_second) : per_second_(per_second), budgets_(places) {}

  [[nodiscard]] bool allow(std::uint64_t key, std::int64_t now_ns) {
    Budget& budget = budgets_[(key * 0x9e3779b97f4a7c15U) >> (64U - 12U)];
    if (budget.since_ns == 0) {
      budget = {now_ns, per_second_};
    }
    const std::int64_t elapsed_ns = now_ns - budget.since_ns;
    if (elapsed_ns >= base::ns_per_s) {
      budget = {now_ns, per_second_};
    } else if (const std::int64_t earned = elapsed_ns * per_second_ / base::ns_per_s; earned > 0) {
      // Only the time that was paid out is used up.
      budget = {budget.since_ns + (earned * base::ns_per_s / per_second_), std::min(per_second_, budget.left + earned)};
    }
    if (budget.left == 0) {
      return false;
    }
    --budget.left;
    return true;
  }

 private:
  static_assert(places == std::size_t{1} << 12U);
  struct Budget {
    std::int64_t since_ns = 0;
    std::int64_t left = 0;
  };
  std::int64_t per_second_;
  std::vector<Budget> budgets_;
};

}  // namespace stallscope::probe
