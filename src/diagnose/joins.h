// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "base/units.h"
#include "diagnose/diagnosis.h"
#include "diagnose/episodes.h"
#include "diagnose/time_window.h"
#include "diagnose/wait_index.h"

namespace stallscope::diagnose {

/// A packet has to share this much time with a wait to have been held by it: longer than any healthy pass through a receive queue,
/// short against the 5 ms from which a probe is late.
inline constexpr std::int64_t least_hold_ns = base::ns_per_ms;
/// Joined by time alone, waits have to cover at least one part in this many of a probe's lateness; a shorter one was a
/// coincidence more likely than the reason.
inline constexpr std::int64_t least_covered_divisor = 2;

/// A late probe was held on a CPU from `from_ns` to `to_ns`.
struct Hold {
  std::size_t probe = 0;
  /// Index into Evidence::waits. Nothing: its packet waited there, and no wait was recorded that says why.
  std::optional<std::size_t> wait;
  std::int32_t cpu = -1;
  std::int64_t from_ns = 0;
  std::int64_t to_ns = 0;
  JoinedBy joined_by = JoinedBy::nothing;
  /// For a join by sequence: the packet (index into Evidence::packets) and its direction.
  std::optional<std::size_t> packet;
  std::optional<evidence::PacketLeg> leg;
};

struct Joins {
  /// By probe, in order of sequence; a probe may have been held more than once.
  std::vector<Hold> holds;
  std::int64_t unusable_packet_count = 0;
};

/// Finds the waits that held late probes: by the probe's own packet where the kernel saw it, else by time.
[[nodiscard]] Joins join_probes(const evidence::Evidence& evidence, const ProbeAnalysis& probes, const WaitIndex& waits,
                                const TimeWindow& window);

}  // namespace stallscope::diagnose
