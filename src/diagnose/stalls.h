// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "base/units.h"
#include "diagnose/diagnosis.h"
#include "diagnose/episodes.h"
#include "diagnose/joins.h"
#include "diagnose/wait_index.h"

namespace stallscope::diagnose {

/// A wait that held no probe is reported from this length on, if packets waited in it: the same delay that makes a probe late.
inline constexpr std::int64_t unprobed_report_ns = late_floor_ns;
/// Waits on one CPU with less than this between them touch: NET_RX had no time to work off its queue (one run may take 2 jiffies).
inline constexpr std::int64_t touching_ns = base::ns_per_ms;

struct StallSet {
  /// In order of start; those of one CPU do not overlap.
  std::vector<Stall> stalls;
  OtherWaits other_waits;
};

/// Makes stalls of the waits in which somebody waited, and of the late probes that no wait explains.
[[nodiscard]] StallSet build_stalls(const evidence::Evidence& evidence, const ProbeAnalysis& probes, const Joins& joins,
                                    const WaitIndex& waits);

}  // namespace stallscope::diagnose
