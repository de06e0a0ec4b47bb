// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "shape/packets.h"

namespace stallscope::shape {

/// What was sent in one stretch of time to one row: a queue, a CPU, a flow.
struct HeatCell {
  std::int64_t sent_count = 0;
  std::int64_t unanswered_count = 0;
  /// The latest answer, counted from when its packet was due. 0: none.
  std::int64_t worst_ns = 0;

  friend bool operator==(const HeatCell&, const HeatCell&) = default;
};

/// Rows by time of sending: what a queue held shows where it stood still, not where it let go.
struct HeatMap {
  std::int64_t start_ns = 0;
  /// Of each column.
  std::int64_t cell_ns = 1;
  std::vector<std::vector<HeatCell>> rows;
};

/// Row of flows that are in none.
inline constexpr std::int32_t no_row = -1;

/// `row_of_flow` has a row for each flow; flows beyond it are in none. Packets with impossible times are left out.
[[nodiscard]] HeatMap make_heat_map(std::span<const TimedPacket> packets, std::span<const std::int32_t> row_of_flow,
                                    std::size_t row_count, std::size_t column_count);

/// The same with at most `column_count` columns, each of several that were.
[[nodiscard]] HeatMap narrow(const HeatMap& map, std::size_t column_count);

}  // namespace stallscope::shape
