// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/clock_fit.h"
#include "capture/exchange.h"

namespace stallscope::capture {

/// What two captures of the same packets say about where each waited.
struct TwoPlaces {
  /// From the near capture's clock to the far one's, by the time since 1970.
  base::ClockFit clock;
  std::int64_t matched_count = 0;
  /// Of them, those that have other addresses in the far capture (NAT), told by what NAT leaves as it is.
  std::int64_t translated_count = 0;
  /// Exchanges of the near capture for which several of either capture fit so; they are not matched.
  std::int64_t ambiguous_count = 0;
  /// For each observation of the near capture: the one of the far capture, by the near clock; nothing where it was not seen.
  std::vector<std::optional<Observation>> far;
};

/// Matches by addresses, ports, and sequence or echo number; what is left, by what NAT does not change (legs.h). `far` is in any
/// order. Nothing where the captures share no answered exchange. The clocks may differ by any amount and drift apart.
[[nodiscard]] std::optional<TwoPlaces> match(const std::vector<Observation>& near, std::vector<Observation> far);

}  // namespace stallscope::capture
