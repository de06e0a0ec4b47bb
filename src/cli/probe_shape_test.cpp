// SPDX-License-Identifier: Apache-2.0
#include "cli/probe_shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/queue_testing.h"
#include "report/layout.h"
#include "shape/testing/simulate.h"

namespace stallscope::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
namespace simulated = shape::testing;

diagnose::TargetShape stalled_target() {
  diagnose::TargetShape target;
  target.address = "10.0.1.2";
  simulated::Dice dice(1);
  const simulated::Traffic traffic;
  target.packets = simulated::quiet_run(traffic, dice);
  simulated::hold(target.packets, traffic, {0, simulated::run_start_ns + simulated::second, 100 * simulated::ms}, 7, dice);
  for (int flow = 0; flow < 16; ++flow) {
    target.flows.push_back({flow, flow == 0 ? evidence::ProbeKind::icmp_echo : evidence::ProbeKind::tcp_syn, "evil\x1b[2J", "",
                            static_cast<std::uint16_t>(flow == 0 ? 0 : 40'000 + flow), "10.0.1.2",
                            static_cast<std::uint16_t>(flow == 0 ? 0 : 443)});
  }
  target.analysis = shape::analyse(target.packets);
  return target;
}

TEST(ProbeShape, SetsIcmpAgainstTcpPortsAndShowsAMap) {
  ProbeShapes shapes;
  shapes.targets.push_back(stalled_target());
  const std::string text = render_probe_shapes(shapes, {});
  EXPECT_THAT(text, HasSubstr("Where probes to 10.0.1.2 waited, by the times of 16 flows"));
  EXPECT_THAT(text, HasSubstr("icmp_echo; tcp_syn:443 40001 40002"));
  EXPECT_THAT(text, HasSubstr("\nstalling flows  "));
  EXPECT_THAT(text, HasSubstr("\nother flows     "));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  for (const std::string_view line : base::split(text, '\n')) {
    EXPECT_LE(report::display_width(line), 80U) << line;
    EXPECT_EQ(report::display_width(line), line.size()) << "only ASCII: " << line;
  }
  EXPECT_THAT(render_probe_shapes(shapes, {.width = 80, .utf8 = true}), HasSubstr("\u2581"));
}

TEST(ProbeShape, SaysNothingOfTargetsWithoutAShape) {
  ProbeShapes shapes;
  shapes.targets.push_back(stalled_target());
  shapes.targets[0].flows.resize(1);
  shapes.left_out_count = 5;
  EXPECT_EQ(render_probe_shapes(shapes, {}), "");
  EXPECT_EQ(probe_shapes_json(shapes), "");
}

TEST(ProbeShape, LimitsTargetsUnlessAllAreAskedFor) {
  ProbeShapes shapes;
  for (int count = 0; count < 5; ++count) {
    shapes.targets.push_back(stalled_target());
  }
  shapes.left_out_count = 1'234;
  const auto count_in = [](const std::string& text) {
    std::size_t count = 0;
    for (std::size_t at = text.find("Where probes"); at != std::string::npos; at = text.find("Where probes", at + 1)) {
      ++count;
    }
    return count;
  };
  const std::string text = render_probe_shapes(shapes, {});
  EXPECT_EQ(count_in(text), 3U);
  EXPECT_THAT(text, HasSubstr("the last 1,234 probes"));
  EXPECT_EQ(count_in(render_probe_shapes(shapes, {.width = 80, .utf8 = false, .all = true})), 5U);
}

TEST(ProbeShape, IsALineOfJsonForEachTarget) {
  ProbeShapes shapes;
  shapes.targets.push_back(stalled_target());
  const std::string text = probe_shapes_json(shapes);
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  const auto line = nlohmann::json::parse(text);
  EXPECT_EQ(line["type"], "shape");
  EXPECT_EQ(line["verdict"]["cause"], "receive_queue");
  EXPECT_EQ(line["heat_map"]["rows"].size(), 2U);
  EXPECT_TRUE(line["queues"]["prediction"].is_null());
}

TEST(ProbeShape, HasARowForEachQueueWhereTheKeyFits) {
  ProbeShapes shapes;
  shapes.targets.push_back(queue_testing::target_of(queue_testing::busy_connections(3)));
  shapes.key = queue_testing::map_of_key(rss::verification_key);
  const std::string text = render_probe_shapes(shapes, {.width = 1'000});
  EXPECT_THAT(text, HasSubstr("The stalled flows are all of queue 3: 32 of 32 flows"));
  EXPECT_THAT(text, HasSubstr("\nqueue 0  "));
  EXPECT_THAT(text, Not(HasSubstr("stalling flows")));
  const auto line = nlohmann::json::parse(probe_shapes_json(shapes));
  EXPECT_EQ(line["queues"]["groups"][0]["queues"], nlohmann::json::array({3}));
  ASSERT_EQ(line["heat_map"]["rows"].size(), 4U);
  // What waited stands in the row of the queue that held it.
  for (const auto& row : line["heat_map"]["rows"]) {
    std::int64_t worst_ns = 0;
    for (const auto& cell : row["worst_ns"]) {
      worst_ns = std::max(worst_ns, cell.get<std::int64_t>());
    }
    EXPECT_EQ(worst_ns > 10 * base::ns_per_ms, row["label"] == "queue 3") << row["label"];
  }
}

TEST(ProbeShape, NamesNoQueueByAKeyThatDoesNotFit) {
  ProbeShapes shapes;
  shapes.targets.push_back(queue_testing::target_of(queue_testing::busy_connections(3)));
  shapes.key = queue_testing::wrong_map();
  const std::string text = render_probe_shapes(shapes, {.width = 1'000});
  EXPECT_THAT(text, HasSubstr("No queue is named"));
  EXPECT_THAT(text, HasSubstr("\nstalling flows  "));
  EXPECT_THAT(text, Not(HasSubstr("\nqueue 0")));
}

}  // namespace
}  // namespace stallscope::cli
