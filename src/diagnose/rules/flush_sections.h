// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/units.h"
#include "diagnose/time_window.h"
#include "evidence/records.h"

namespace stallscope::diagnose::rules {

/// Shorter sections cannot be a stall; every statistics read makes one, and with them any interval would overlap some.
inline constexpr std::int64_t long_section_ns = base::ns_per_ms;

/// The long rstat flush sections of each CPU, as stretches that do not overlap.
class FlushSections {
 public:
  FlushSections(const evidence::Evidence& evidence, const TimeWindow& window);

  [[nodiscard]] bool empty() const { return by_cpu_.empty(); }
  /// How much of [from_ns, to_ns] sections on `cpu` cover.
  [[nodiscard]] std::int64_t covered_ns(std::int32_t cpu, std::int64_t from_ns, std::int64_t to_ns) const;
  /// The probability that an interval of `length_ns`, placed anywhere in the recording, shares time with a section on `cpu`.
  [[nodiscard]] double chance_of_overlap(std::int32_t cpu, std::int64_t length_ns) const;

 private:
  struct Section {
    std::int64_t start_ns = 0;
    std::int64_t end_ns = 0;
  };
  std::map<std::int32_t, std::vector<Section>> by_cpu_;
  std::int64_t run_start_ns_ = 0;
  std::int64_t run_end_ns_ = 0;
};

}  // namespace stallscope::diagnose::rules
