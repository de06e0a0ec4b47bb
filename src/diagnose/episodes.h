// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "base/units.h"
#include "diagnose/diagnosis.h"
#include "diagnose/time_window.h"

namespace stallscope::diagnose {

/// A reply is late from this much above the median RTT. Longer than a scheduling tick of the slowest common configuration (4 ms at
/// HZ=250), so that ordinary scheduling of sender or receiver stays below it; short against the 10 ms and more people complain of.
inline constexpr std::int64_t late_floor_ns = 5 * base::ns_per_ms;
/// ... or from this many standard deviations: on a path whose RTT varies by itself, the floor alone would call jitter a stall.
inline constexpr std::int64_t late_noise_factor = 5;
/// A probe without a reply this long before the end of the recording is lost; a younger one is undecided.
inline constexpr std::int64_t lost_after_ns = base::ns_per_s;
/// Arrivals closer than the interval divided by this came together.
inline constexpr std::int64_t together_divisor = 4;
/// ... or closer than this: a long queue takes a moment to drain (net.core.netdev_budget_usecs is 2 jiffies).
inline constexpr std::int64_t together_floor_ns = base::ns_per_ms / 2;
/// The slope may differ from -1 by this much, although a small standard error says it is not exactly -1: draining takes time.
inline constexpr double slope_tolerance = 0.05;
/// A slope whose standard error is larger says nothing about -1.
inline constexpr double slope_error_limit = 0.2;
/// By how many standard errors the slope may differ from -1.
inline constexpr double slope_error_factor = 3;

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
