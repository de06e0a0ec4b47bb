// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace stallscope::lab::cfs_throttled {

/// A time in which a thread that wants to run did not.
struct Gap {
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;

  friend bool operator==(const Gap&, const Gap&) = default;
};

/// Of the gaps seen in one turn those that were throttling, in order of time: as many as the kernel counted, and they are the
/// longest. Others come from interrupts, other tasks and the hypervisor.
[[nodiscard]] std::vector<Gap> throttled_gaps(std::vector<Gap> gaps, std::int64_t throttled_count);

}  // namespace stallscope::lab::cfs_throttled
