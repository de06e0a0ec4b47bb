// SPDX-License-Identifier: Apache-2.0
#include "report/shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text.h"
#include "report/layout.h"
#include "shape/testing/simulate.h"

namespace stallscope::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

namespace simulated = shape::testing;

constexpr std::uint64_t hash_seed = 7;

std::vector<shape::TimedPacket> stalled_packets() {
  simulated::Dice dice(1);
  const simulated::Traffic run;
  std::vector<shape::TimedPacket> packets = simulated::quiet_run(run, dice);
  simulated::hold(packets, run, {0, simulated::run_start_ns + 2 * simulated::second, 100 * simulated::ms}, hash_seed, dice);
  return packets;
}

ShapeOptions named() {
  ShapeOptions options;
  options.flows.push_back({"icmp", ""});
  for (int port = 1; port < 16; ++port) {
    options.flows.push_back({"tcp", std::to_string(40'000 + port)});
  }
  return options;
}

void expect_lines_fit(const std::string& text, std::size_t width) {
  for (const std::string_view line : base::split(text, '\n')) {
    EXPECT_LE(display_width(line), width) << line;
  }
}

TEST(ShapeText, says_which_flows_stalled_and_how_sure_that_is) {
  const std::string text = render_shape(shape::analyse(stalled_packets()), named());
  EXPECT_THAT(text, HasSubstr("one receive queue"));
  EXPECT_THAT(text, HasSubstr("p < 1e-12"));
  EXPECT_THAT(text, HasSubstr("slope -1.00 (95 %: -"));
  EXPECT_THAT(text, HasSubstr("(6 of 15)"));
  expect_lines_fit(text, 80);
}

TEST(ShapeText, makes_hostile_names_harmless) {
  ShapeOptions options = named();
  options.flows[0] = {"icmp\x1b[31m", "evil\n"};
  for (FlowName& name : options.flows) {
    name.detail += "\x1b]0;title\x07";
  }
  const shape::Analysis analysis = shape::analyse(stalled_packets());
  EXPECT_THAT(render_shape(analysis, options), Not(HasSubstr("\x1b")));
  EXPECT_THAT(shape_json(analysis, options).dump(), Not(HasSubstr("\\u001b")));
}

TEST(FlowsText, groups_by_protocol_and_counts_the_others) {
  const ShapeOptions options = named();
  EXPECT_EQ(flows_text({3, 0, 1}, {2, 4}, options.flows), "icmp; tcp 40001 40003 (2 of 4)");
  EXPECT_EQ(flows_text({1, 2}, {0}, options.flows), "tcp all 2");
  EXPECT_EQ(flows_text({99}, {}, options.flows), "flow 99");
  EXPECT_EQ(flows_text({}, {1}, options.flows), "none");
}

TEST(ShapeText, of_nothing_is_one_line) {
  simulated::Dice dice(1);
  EXPECT_EQ(render_shape(shape::analyse(simulated::quiet_run({}, dice)), {}), "Shape   no packet was late or lost\n");
}

TEST(ShapeJson, has_the_verdict_and_every_episode) {
  const Json rendered = shape_json(shape::analyse(stalled_packets()), named());
  EXPECT_EQ(rendered["verdict"]["cause"], "receive_queue");
  ASSERT_EQ(rendered["episodes"].size(), 1U);
  const Json& episode = rendered["episodes"][0];
  EXPECT_EQ(episode["release"], "together");
  EXPECT_EQ(episode["stalled_flows"].size() + episode["passing_flows"].size(), 16U);
  EXPECT_EQ(episode["held"], rendered["verdict"]["packets"]["receive_queue"]);
}

shape::HeatMap queue_map(std::size_t columns) {
  std::vector<std::int32_t> rows;
  for (std::uint32_t flow = 0; flow < 16; ++flow) {
    rows.push_back(static_cast<std::int32_t>(simulated::queue_of(flow, 4, hash_seed)));
  }
  return make_heat_map(stalled_packets(), rows, 4, columns);
}

TEST(HeatMapText, shows_the_stall_in_its_row) {
  HeatMapOptions options;
  options.utf8 = false;
  const std::string text = render_heat_map(queue_map(50), {"queue 0", "queue 1", "queue 2", "queue 3"}, options);
  const auto lines = base::split(text, '\n');
  EXPECT_EQ(lines[0], "queue 0  ..........*.......................................");
  EXPECT_EQ(lines[1], "queue 1  " + std::string(50, '.'));
  EXPECT_THAT(text, HasSubstr("+10.0 s"));
  EXPECT_THAT(text, HasSubstr("* 300 ms"));
  expect_lines_fit(text, 80);
}

TEST(HeatMapText, fits_any_width_and_has_blocks) {
  for (const std::size_t width : {40U, 60U, 80U, 200U}) {
    HeatMapOptions options;
    options.width = width;
    const std::string text = render_heat_map(queue_map(300), {"queue 0", "CPU \x1b[2J 1"}, options);
    EXPECT_THAT(text, HasSubstr("\u2581"));
    EXPECT_THAT(text, HasSubstr("\\x1b[2J"));
    EXPECT_THAT(text, Not(HasSubstr("\x1b")));
    expect_lines_fit(text, width);
  }
  EXPECT_EQ(render_heat_map({}, {}, {}), "");
}

TEST(HeatMapJson, has_every_cell) {
  const Json rendered = heat_map_json(queue_map(10), {"queue 0"});
  ASSERT_EQ(rendered["rows"].size(), 4U);
  EXPECT_EQ(rendered["rows"][0]["label"], "queue 0");
  EXPECT_EQ(rendered["rows"][3]["label"], "row 3");
  EXPECT_EQ(rendered["rows"][0]["worst_ns"].size(), 10U);
}

}  // namespace
}  // namespace stallscope::report
