// SPDX-License-Identifier: Apache-2.0
#include "cli/bisect_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/units.h"

namespace stallscope::cli {
namespace {

using bisect::RungSet;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

bisect::Path three_rungs() {
  return bisect::with_control(bisect::Path{{
      {.name = "service", .target = "http://10.0.1.2:30080", .layers = {"nat", "application", "node"}},
      {.name = "app", .target = "http://10.0.1.2:8080", .layers = {"application", "node"}},
      {.name = "node", .target = "10.0.1.2", .layers = {"node"}},
  }});
}

/// Bits from the right: service, app, node, this host.
BisectReport report_of(int count, const char* hit, std::int64_t observed_ns = 60 * base::ns_per_s) {
  BisectReport report;
  report.path = three_rungs();
  report.late_after_ns = 5 * base::ns_per_ms;
  const RungSet set(hit);
  std::vector<bisect::Stall> stalls;
  for (int i = 0; i < count; ++i) {
    const std::int64_t start_ns = i * base::ns_per_s;
    stalls.push_back({start_ns, start_ns + ((40 + i) * base::ns_per_ms), RungSet("1111"), set});
  }
  report.verdict = bisect::compare(report.path, stalls, {}, observed_ns);
  for (std::size_t i = 0; i < report.path.rungs.size(); ++i) {
    report.rungs.push_back({.sent = 6000, .answered = 6000, .usual_ns = 200'000, .worst_ns = 3 * base::ns_per_ms});
    if (set.test(i)) {
      report.rungs.back().stall_count = count;
      report.rungs.back().worst_ns = 60 * base::ns_per_ms;
      report.rungs.back().stalled_ns = count * 45 * base::ns_per_ms;
    }
  }
  return report;
}

TEST(BisectText, BeginsWithTheAnswer) {
  const std::string text = render_bisect_text(report_of(14, "0011"));
  EXPECT_THAT(text,
              StartsWith("Packets wait in application.\n14 stalls in 60 s, 40 ms to 53 ms long. They hit service and app, not node "
                         "or\nthis host.\n"));
  EXPECT_THAT(text, HasSubstr("  service        14/14       14 (7.7-23)"));
  EXPECT_THAT(text, HasSubstr("  node            0/14         0 (0-3.7)"));
  EXPECT_THAT(text, HasSubstr("  not nat     app does not cross it and stalls all the same: 14 of 14\n"));
  EXPECT_THAT(text, HasSubstr("  not node    node crosses it and was on time in 14 of 14 stalls\n"));
  EXPECT_EQ(outcome_of(report_of(14, "0011")), BisectOutcome::found);
}

TEST(BisectText, SaysWhatNoStallMeans) {
  const BisectReport report = report_of(0, "0000");
  EXPECT_THAT(render_bisect_text(report), StartsWith("No stall in 60 s: with 95 % confidence fewer than one per 20 s.\n"));
  EXPECT_FALSE(anything_wrong(report));
}

TEST(BisectText, SaysThatItCannotTellYetAndForHowLong) {
  const std::string text = render_bisect_text(report_of(2, "0011", 20 * base::ns_per_s));
  EXPECT_THAT(text, StartsWith("Cannot tell yet: 2 stalls in 20 s. 2 more may be enough, which takes about 20 s\nat this rate.\n"));
  EXPECT_THAT(text, Not(HasSubstr("Packets wait")));
  EXPECT_THAT(text, HasSubstr("Not decided: service, app, node and this\nhost."));
}

TEST(BisectText, ClaimsNoMoreThanTheNetworkUpToWhatAllCross) {
  const std::string text = render_bisect_text(report_of(14, "0111"));
  EXPECT_THAT(text, StartsWith("Packets wait in node.\n"));
  EXPECT_THAT(text, HasSubstr("so is the network up to it"));
}

TEST(BisectText, KnowsThisHostsOwnStalls) {
  EXPECT_THAT(render_bisect_text(report_of(14, "1111")), StartsWith("Packets wait in this host itself (sender).\n"));
  BisectReport report = report_of(0, "0000");
  report.own_stall_count = 12;
  report.own_stalled_ns = 600 * base::ns_per_ms;
  report.worst_own_stall_ns = 60 * base::ns_per_ms;
  const std::string text = render_bisect_text(report);
  EXPECT_THAT(text, StartsWith("Packets wait in this host itself (sender): the prober was kept from sending 12\n"));
  EXPECT_TRUE(anything_wrong(report));
}

TEST(BisectText, AFewStallsOfNobodyKnowsWhatDoNotHideTheProbersOwn) {
  BisectReport report = report_of(1, "1000");
  report.worst_own_stall_ns = 60 * base::ns_per_ms;
  report.own_stall_count = 3;
  EXPECT_EQ(outcome_of(report), BisectOutcome::undecided);
  report.own_stall_count = 12;
  EXPECT_EQ(outcome_of(report), BisectOutcome::sender);
}

TEST(BisectText, SaysOnceOfWhatWasOnce) {
  BisectReport report = report_of(0, "0000");
  report.own_stall_count = 1;
  report.stalls_set_aside = 1;
  EXPECT_THAT(render_bisect_text(report), HasSubstr("was kept from sending once,"));
  EXPECT_THAT(render_bisect_text(report), HasSubstr("nor does 1 stall"));
}

TEST(BisectText, TellsLossFromLateness) {
  BisectReport report = report_of(0, "0000");
  report.rungs[0].answered = 5900;
  report.rungs[0].lost = 100;
  report.loss = bisect::compare_loss(report.path, report.rungs, {});
  const std::string text = render_bisect_text(report);
  EXPECT_THAT(text, StartsWith("No stall in 60 s"));
  EXPECT_THAT(text, HasSubstr("Loss is another matter: service lost more than the others, which points at nat."));
  EXPECT_TRUE(anything_wrong(report));
}

TEST(BisectText, FitsAndShowsNoControlCharacters) {
  BisectReport report = report_of(14, "0011");
  report.path.rungs[0].name = "a service whose name is as long as can be";
  report.errors = {"5 times: \x1b[31mred from 10.0.1.2."};
  const std::string text = render_bisect_text(report);
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  std::size_t start = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; start = end + 1, end = text.find('\n', start)) {
    EXPECT_LE(end - start, 96U) << text.substr(start, end - start);
  }
}

TEST(BisectJson, HoldsTheSame) {
  const nlohmann::json json = nlohmann::json::parse(render_bisect_json(report_of(14, "0011")));
  EXPECT_EQ(json.at("outcome"), "found");
  EXPECT_EQ(json.at("causes").at(0).at("suspects"), nlohmann::json({"application"}));
  EXPECT_EQ(json.at("causes").at(0).at("rungs").at(2).at("decision"), "clean");
  EXPECT_EQ(json.at("rungs").at(0).at("stalls"), 14);
  EXPECT_EQ(json.at("causes").at(0).at("stalls").size(), 14U);
}

}  // namespace
}  // namespace stallscope::cli
