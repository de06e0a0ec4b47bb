// SPDX-License-Identifier: Apache-2.0
#include "remedy/pacer.h"

#include <algorithm>

namespace stallscope::remedy {

Pacer::Pacer(const Limits& limits)
    : limits_(limits), step_(limits.first_step), ceiling_(limits.largest_step), pause_ns_(limits.shortest_pause_ns) {}

void Pacer::learn(std::int64_t worst_ns) {
  if (worst_ns > limits_.allowed_ns / 2) {
    ceiling_ = step_ / 2;
  }
  if (worst_ns > limits_.allowed_ns) {
    step_ /= 4;
    pause_ns_ *= 4;
  } else if (worst_ns > limits_.allowed_ns / 2) {
    step_ = step_ * 2 / 3;
  } else if (worst_ns < limits_.allowed_ns / 4) {
    const std::int64_t divisor = step_ < ceiling_ ? 2 : 16;
    step_ += std::max<std::int64_t>(step_ / divisor, 1);
    pause_ns_ /= 2;
  }
  step_ = std::clamp(step_, limits_.smallest_step, limits_.largest_step);
  pause_ns_ = std::clamp(pause_ns_, limits_.shortest_pause_ns, limits_.longest_pause_ns);
}

}  // namespace stallscope::remedy
