// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/cfs-throttled/throttle_gaps.h"

#include <algorithm>
#include <cstddef>

namespace stallscope::lab::cfs_throttled {

std::vector<Gap> throttled_gaps(std::vector<Gap> gaps, std::int64_t throttled_count) {
  std::stable_sort(gaps.begin(), gaps.end(),
                   [](const Gap& a, const Gap& b) { return a.end_ns - a.start_ns > b.end_ns - b.start_ns; });
  gaps.resize(std::min(gaps.size(), static_cast<std::size_t>(std::max<std::int64_t>(throttled_count, 0))));
  std::sort(gaps.begin(), gaps.end(), [](const Gap& a, const Gap& b) { return a.start_ns < b.start_ns; });
  return gaps;
}

}  // namespace stallscope::lab::cfs_throttled
