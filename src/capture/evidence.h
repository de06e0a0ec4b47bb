// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock_fit.h"
#include "capture/exchange.h"
#include "evidence/records.h"

namespace stallscope::capture {

/// "10.0.1.2", "fd00::2"
[[nodiscard]] std::string address_text(const std::array<std::uint8_t, 16>& address, bool v6);

/// What two captures of the same packets say about where each waited.
struct TwoPlaces {
  /// From the near capture's clock to the far one's, by the time since 1970.
  base::ClockFit clock;
  std::int64_t matched_count = 0;
  /// For each observation of the near capture: the one of the far capture, by the near clock; nothing where it was not seen.
  std::vector<std::optional<Observation>> far;
};

/// Matches by addresses, ports, and sequence or echo number. `far` is in any order. Nothing where the captures share no answered
/// exchange. The clocks may differ by any amount and drift apart.
[[nodiscard]] std::optional<TwoPlaces> match(const std::vector<Observation>& near, std::vector<Observation> far);

/// Exchanges as the evidence of a recording: a request is a probe, its addresses and ports are a flow. Times are counted from one
/// second before the first packet; RunRecord::realtime_offset_ns leads back. `places` adds when the far host had each packet.
[[nodiscard]] evidence::Evidence make_evidence(const std::vector<Observation>& observations, const TrackerCounts& counts,
                                               const std::optional<TwoPlaces>& places);

}  // namespace stallscope::capture
