// SPDX-License-Identifier: Apache-2.0
#include "shape/heat_map.h"

#include <gtest/gtest.h>

#include <limits>

#include "shape/testing/simulate.h"

namespace stallscope::shape {
namespace {

using testing::ms;
using testing::run_start_ns;

std::vector<TimedPacket> two_flows() {
  std::vector<TimedPacket> packets;
  for (std::int64_t tick = 0; tick < 100; ++tick) {
    const std::int64_t sent_ns = run_start_ns + tick * ms;
    packets.push_back({static_cast<std::uint32_t>(tick % 2), tick / 2, sent_ns, sent_ns, sent_ns + (tick / 10 == 3 ? 50 : 1) * ms});
  }
  packets[71].answered_ns = TimedPacket::not_answered;
  return packets;
}

TEST(HeatMap, has_the_worst_answer_of_each_row_and_time) {
  const std::vector<std::int32_t> rows = {0, 1};
  const HeatMap map = make_heat_map(two_flows(), rows, 2, 10);
  ASSERT_EQ(map.rows.size(), 2U);
  EXPECT_EQ(map.start_ns, run_start_ns);
  EXPECT_EQ(map.rows[0][3], (HeatCell{5, 0, 50 * ms}));
  EXPECT_EQ(map.rows[1][7], (HeatCell{5, 1, ms}));
  EXPECT_EQ(map.rows[0][0].worst_ns, ms);
}

TEST(HeatMap, leaves_out_what_has_no_row_or_no_possible_time) {
  std::vector<TimedPacket> packets = two_flows();
  packets[0].intended_ns = -1;
  packets[2].answered_ns = std::numeric_limits<std::int64_t>::min();
  packets[4].flow = 5'000'000;
  const std::vector<std::int32_t> rows = {0, no_row};
  const HeatMap map = make_heat_map(packets, rows, 1, 10);
  std::int64_t sent_count = 0;
  for (const HeatCell& cell : map.rows[0]) {
    sent_count += cell.sent_count;
  }
  EXPECT_EQ(sent_count, 47);
  EXPECT_EQ(make_heat_map({}, rows, 1, 10).rows[0].size(), 10U);
  EXPECT_TRUE(make_heat_map(packets, rows, 1, 0).rows[0].empty());
}

TEST(HeatMap, is_narrowed_without_losing_the_worst) {
  const std::vector<std::int32_t> rows = {0, 1};
  const HeatMap map = make_heat_map(two_flows(), rows, 2, 10);
  const HeatMap narrowed = narrow(map, 4);
  ASSERT_EQ(narrowed.rows[0].size(), 4U);
  EXPECT_EQ(narrowed.cell_ns, 3 * map.cell_ns);
  EXPECT_EQ(narrowed.rows[0][1].worst_ns, 50 * ms);
  EXPECT_EQ(narrowed.rows[0][3].sent_count, 5);
  EXPECT_EQ(narrow(map, 10).rows, map.rows);
}

}  // namespace
}  // namespace stallscope::shape
