// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <vector>

#include "capture/exchange.h"

// One exchange on both sides of an address translation: a host that forwards (a node, a gateway) sees it with other addresses
// before and after, and each pair of addresses is a leg of it.
namespace stallscope::capture {

/// What NAT leaves as it is of an exchange: kind, family, sequence number, and timestamp value or data of an echo. Random enough
/// that two exchanges have the same only by intent.
struct LegMark {
  std::uint64_t numbers = 0;
  std::uint64_t kind = 0;

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes the 0 that this is compared with for a pointer
  friend auto operator<=>(const LegMark&, const LegMark&) = default;
};

/// Nothing for a response, and where the mark of the observation is not known.
[[nodiscard]] std::optional<LegMark> leg_mark(const Observation& observation);

struct LegCounts {
  /// Legs that became part of the exchange that was seen first.
  std::int64_t joined_count = 0;
  /// Exchanges with the same mark at the same time of which it is not plain which belong together: left as they are.
  std::int64_t ambiguous_count = 0;

  friend bool operator==(const LegCounts&, const LegCounts&) = default;
};

/// Makes one of all legs of an exchange: the one that was seen first, as who asked knows it, with how long request and answer were
/// on their way from the first leg to the last and back. A leg begins after the one before it, is answered before it, and has fewer
/// hops left, because a router stands between them: probes that one host sends alike to several others are not taken for legs.
///
/// `exchanges` are in order of sending and stay so. Takes n log n time and 40 bytes for each beside the input.
[[nodiscard]] LegCounts join_legs(std::vector<Observation>& exchanges);

}  // namespace stallscope::capture
