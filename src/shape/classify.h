// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "shape/lateness.h"
#include "shape/packets.h"

namespace stallscope::shape {

/// Flows are numbered below this; packets of others are unusable. Bounds what a hostile capture can make us allocate.
inline constexpr std::uint32_t max_flows = 1U << 20U;
/// A packet unanswered for this long at the end is lost; a younger one is undecided.
inline constexpr std::int64_t lost_after_ns = base::ns_per_s;

/// Each packet judged by itself. Holds 5 bytes for each packet and 32 for each flow.
struct Classified {
  /// Usable packets, in order of sending.
  std::vector<std::uint32_t> by_sent;
  /// For each packet of the input.
  std::vector<Fate> fates;
  /// For each flow; one with few answers has that of all flows together.
  std::vector<Baseline> baselines;
  std::int64_t answered_count = 0;
  std::int64_t late_count = 0;
  std::int64_t own_late_count = 0;
  std::int64_t lost_count = 0;
  std::int64_t undecided_count = 0;
  std::int64_t unusable_count = 0;
  /// From the first packet sent to the last seen.
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;

  [[nodiscard]] const Baseline& baseline(const TimedPacket& packet) const { return baselines[packet.flow]; }
};

/// `end_ns` is when observation ended; at least the last time in the packets is taken.
[[nodiscard]] Classified classify(std::span<const TimedPacket> packets, std::int64_t end_ns);

}  // namespace stallscope::shape
