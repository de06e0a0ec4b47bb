// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "base/units.h"
#include "diagnose/diagnosis.h"
#include "diagnose/time_window.h"
#include "shape/lateness.h"

namespace stallscope::diagnose {

using shape::late_floor_ns;
/// A probe without a reply this long before the end of the recording is lost; a younger one is undecided.
inline constexpr std::int64_t lost_after_ns = base::ns_per_s;
struct ProbeAnalysis {
  ProbeSummary summary;
  /// For each of Evidence::probes.
  std::vector<ProbeFate> fates;
  /// In order of time.
  std::vector<Episode> episodes;
  /// Probes that were left out because their times are impossible.
  std::int64_t unusable_count = 0;
};

/// Judges every probe and groups the late ones, from the probes alone.
[[nodiscard]] ProbeAnalysis analyse_probes(const evidence::Evidence& evidence, const TimeWindow& window);

/// Describes late, answered probes as one group; sorts the indices.
[[nodiscard]] HeldProbes describe_held(const evidence::Evidence& evidence, std::vector<std::size_t> probes);

}  // namespace stallscope::diagnose
