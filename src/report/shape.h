// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "report/json_parts.h"
#include "shape/heat_map.h"
#include "shape/shape.h"

namespace stallscope::report {

/// What a flow is called. Both may come from packets: they are made printable.
struct FlowName {
  /// "icmp", "tcp", "udp".
  std::string protocol;
  /// What tells it from others of the protocol, such as its source port. May be empty.
  std::string detail;
};

struct ShapeOptions {
  std::size_t width = 80;
  bool colour = false;
  /// By flow number; flows beyond it go by number.
  std::vector<FlowName> flows;
  /// CLOCK_REALTIME less the clock of the packets.
  std::int64_t realtime_offset_ns = 0;
  /// How many episodes are shown, the longest.
  std::size_t episode_count = 10;
};

/// The verdict over all as one line without its end: "one receive queue: in 3 stalls, ...".
[[nodiscard]] std::string shape_sentence(const shape::Analysis& analysis);
/// "icmp, and tcp 40001 40004 (2 of 8)": the flows by protocol, and of how many that were seen.
[[nodiscard]] std::string flows_text(const std::vector<std::uint32_t>& flows, const std::vector<std::uint32_t>& others,
                                     const std::vector<FlowName>& names);
/// Verdict and episodes, each line ended by a line feed. Pure.
[[nodiscard]] std::string render_shape(const shape::Analysis& analysis, const ShapeOptions& options);
/// The same and everything else that was found out. Flows are objects with number, protocol and detail.
[[nodiscard]] Json shape_json(const shape::Analysis& analysis, const ShapeOptions& options);

struct HeatMapOptions {
  std::size_t width = 80;
  /// Blocks of UTF-8; without, ASCII.
  bool utf8 = true;
  std::int64_t realtime_offset_ns = 0;
};

/// A line for each row ("queue 0") and a character for each column, by the worst answer of that time; and what the characters mean.
/// Columns are joined where the width does not hold them all. Labels are made printable. Empty where nothing was sent.
[[nodiscard]] std::string render_heat_map(const shape::HeatMap& map, const std::vector<std::string>& labels,
                                          const HeatMapOptions& options);
[[nodiscard]] Json heat_map_json(const shape::HeatMap& map, const std::vector<std::string>& labels);

}  // namespace stallscope::report
