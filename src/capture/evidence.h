// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "capture/exchange.h"
#include "capture/two_places.h"
#include "evidence/records.h"

namespace stallscope::capture {

/// "10.0.1.2", "fd00::2"
[[nodiscard]] std::string address_text(const std::array<std::uint8_t, 16>& address, bool v6);

/// Exchanges as the evidence of a recording: a request is a probe, its addresses and ports are a flow. Times are counted from one
/// second before the first packet; RunRecord::realtime_offset_ns leads back. `places` adds when the far host had each packet.
[[nodiscard]] evidence::Evidence make_evidence(const std::vector<Observation>& observations, const TrackerCounts& counts,
                                               const std::optional<TwoPlaces>& places);

}  // namespace stallscope::capture
