// SPDX-License-Identifier: Apache-2.0
#include "shape/heat_map.h"

#include <algorithm>
#include <limits>

namespace stallscope::shape {
HeatMap make_heat_map(std::span<const TimedPacket> packets, std::span<const std::int32_t> row_of_flow, std::size_t row_count,
                      std::size_t column_count) {
  HeatMap map;
  map.rows.assign(row_count, std::vector<HeatCell>(column_count));
  std::int64_t first_ns = std::numeric_limits<std::int64_t>::max();
  std::int64_t last_ns = 0;
  const auto row_of = [&](const TimedPacket& packet) {
    const std::int32_t row = packet.flow < row_of_flow.size() ? row_of_flow[packet.flow] : no_row;
    return row < 0 || static_cast<std::size_t>(row) >= row_count ? no_row : row;
  };
  for (const TimedPacket& packet : packets) {
    if (packet.possible() && row_of(packet) != no_row) {
      first_ns = std::min(first_ns, packet.intended_ns);
      last_ns = std::max(last_ns, packet.intended_ns);
    }
  }
  if (first_ns > last_ns || column_count == 0) {
    return map;
  }
  map.start_ns = first_ns;
  map.cell_ns = (last_ns - first_ns) / static_cast<std::int64_t>(column_count) + 1;
  for (const TimedPacket& packet : packets) {
    const std::int32_t row = row_of(packet);
    if (!packet.possible() || row == no_row) {
      continue;
    }
    HeatCell& cell =
        map.rows[static_cast<std::size_t>(row)][static_cast<std::size_t>((packet.intended_ns - first_ns) / map.cell_ns)];
    ++cell.sent_count;
    if (packet.answered()) {
      cell.worst_ns = std::max(cell.worst_ns, packet.answered_ns - packet.intended_ns);
    } else {
      ++cell.unanswered_count;
    }
  }
  return map;
}

HeatMap narrow(const HeatMap& map, std::size_t column_count) {
  const std::size_t columns = map.rows.empty() ? 0 : map.rows.front().size();
  if (columns <= column_count || column_count == 0) {
    return map;
  }
  const std::size_t joined = (columns + column_count - 1) / column_count;
  HeatMap narrowed;
  narrowed.start_ns = map.start_ns;
  narrowed.cell_ns = map.cell_ns * static_cast<std::int64_t>(joined);
  for (const std::vector<HeatCell>& row : map.rows) {
    std::vector<HeatCell>& cells = narrowed.rows.emplace_back((columns + joined - 1) / joined);
    for (std::size_t column = 0; column < row.size(); ++column) {
      HeatCell& cell = cells[column / joined];
      cell.sent_count += row[column].sent_count;
      cell.unanswered_count += row[column].unanswered_count;
      cell.worst_ns = std::max(cell.worst_ns, row[column].worst_ns);
    }
  }
  return narrowed;
}

}  // namespace stallscope::shape
