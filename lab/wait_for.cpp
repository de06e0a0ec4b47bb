// SPDX-License-Identifier: Apache-2.0
#include "lab/wait_for.h"

#include <ctime>

#include "base/clock.h"
#include "base/units.h"

namespace stallscope::lab {

bool wait_for(std::int64_t bound_ns, const std::function<bool()>& done) {
  constexpr std::int64_t poll_interval_ns = 5 * base::ns_per_ms;
  const std::int64_t deadline_ns = base::monotonic_ns() + bound_ns;
  while (!done()) {
    if (base::monotonic_ns() >= deadline_ns) {
      return false;
    }
    const timespec pause{0, poll_interval_ns};
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr);
  }
  return true;
}

}  // namespace stallscope::lab
