// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/units.h"
#include "evidence/records.h"

namespace stallscope::diagnose {

/// The times a record of a run can have. Arithmetic on times inside cannot overflow.
class TimeWindow {
 public:
  explicit TimeWindow(const evidence::RunRecord& run)
      : from_ns_(std::clamp<std::int64_t>(run.start_ns, 0, latest_ns) - slack_ns),
        to_ns_(std::clamp(run.end_ns, from_ns_, from_ns_ + longest_run_ns) + slack_ns) {}

  [[nodiscard]] bool contains(std::int64_t time_ns) const { return time_ns >= from_ns_ && time_ns <= to_ns_; }
  [[nodiscard]] bool contains(std::int64_t start_ns, std::int64_t end_ns) const {
    return contains(start_ns) && contains(end_ns) && start_ns <= end_ns;
  }

 private:
  // 36 years of uptime.
  static constexpr std::int64_t latest_ns = std::int64_t{1} << 60U;
  // Longer than any run; short enough that thousands of such lengths can be added.
  static constexpr std::int64_t longest_run_ns = std::int64_t{32} * 24 * 3600 * base::ns_per_s;
  // A wait may have begun before the recording, and a killed recorder may not have noted its end.
  static constexpr std::int64_t slack_ns = 3600 * base::ns_per_s;

  std::int64_t from_ns_;
  std::int64_t to_ns_;
};

}  // namespace stallscope::diagnose
