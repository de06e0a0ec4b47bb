// SPDX-License-Identifier: Apache-2.0
#include "shape/release.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace stallscope::shape {

Release judge_release(const SlopeFit& fit, std::int64_t sent_apart_ns, std::int64_t arrived_apart_ns) {
  if (!fit.standard_error) {
    return std::abs(arrived_apart_ns) <= std::abs(sent_apart_ns) / together_divisor ? Release::together : Release::apart;
  }
  if (*fit.standard_error > slope_error_limit) {
    return Release::unknown;
  }
  const double distance = std::fabs(fit.slope + 1);
  return distance <= std::max(slope_tolerance, slope_error_factor * *fit.standard_error) ? Release::together : Release::apart;
}

}  // namespace stallscope::shape
