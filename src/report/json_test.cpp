// SPDX-License-Identifier: Apache-2.0
#include "report/json.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "diagnose/diagnose.h"
#include "diagnose/testing/scenarios.h"

namespace stallscope::report {
namespace {

using evidence::Evidence;
using nlohmann::json;

json render_as_json(const Evidence& evidence) {
  return json::parse(render_json(evidence, diagnose::diagnose(evidence)));
}

TEST(Json, has_everything_the_text_says) {
  const json report = render_as_json(diagnose::testing::incident());
  EXPECT_EQ(report["schema_version"], json_schema_version);
  EXPECT_EQ(report["outcome"], "findings");
  EXPECT_EQ(report["run"]["start_utc"], "2026-11-23T03:04:00.000Z");
  EXPECT_EQ(report["probes"]["late"], 27);
  EXPECT_EQ(report["probes"]["not_on_time"].size(), 27U);
  ASSERT_EQ(report["stalls"].size(), 3U);
  const json& stall = report["stalls"][0];
  EXPECT_EQ(stall["cpu"], 0);
  EXPECT_EQ(stall["mode"], "hard_irqs_off");
  EXPECT_EQ(stall["joined_by"], "sequence");
  EXPECT_EQ(stall["held"]["sequences"].front(), 434);
  EXPECT_EQ(stall["held"]["release"], "together");
  const json& who = stall["shares"][0]["occupant"];
  EXPECT_EQ(who["comm"], "cadvisor");
  EXPECT_EQ(who["syscall"]["name"], "read");
  EXPECT_EQ(who["file"], "/sys/fs/cgroup/memory/kubepods/memory.stat");
  EXPECT_EQ(who["stack"].size(), 9U);
  EXPECT_EQ(report["findings"][0]["rule"], "memcg-stat-flush");
  EXPECT_EQ(report["findings"][0]["confidence"], "high");
  EXPECT_EQ(report["census"]["memory_cgroups"]["dying"], 50'006);
  EXPECT_EQ(report["waits"].size(), 4U);
}

TEST(Json, shares_add_up_to_the_stall) {
  const json report = render_as_json(diagnose::testing::two_causes());
  for (const json& stall : report["stalls"]) {
    std::int64_t sum_ns = 0;
    for (const json& share : stall["shares"]) {
      sum_ns += share["length_ns"].get<std::int64_t>();
    }
    EXPECT_EQ(sum_ns, stall["length_ns"].get<std::int64_t>());
  }
}

TEST(Json, says_how_well_two_ends_fit_together) {
  const Evidence evidence = diagnose::testing::two_causes();
  const diagnose::Diagnosis diagnosis = diagnose::diagnose(evidence);
  EXPECT_TRUE(json::parse(render_json(evidence, diagnosis))["two_ends"].is_null());
  const json ends = json::parse(render_json(evidence, diagnosis, TwoEndsFacts{590, 600, 41'000, -3.5}))["two_ends"];
  EXPECT_EQ(ends, json({{"seen", 590}, {"probes", 600}, {"clock_uncertainty_ns", 41'000}, {"clock_drift_ppm", -3.5}}));
}

TEST(Json, is_ascii_whatever_the_names_are) {
  const Evidence evidence = diagnose::testing::hostile_names();
  const std::string text = render_json(evidence, diagnose::diagnose(evidence));
  EXPECT_TRUE(std::all_of(text.begin(), text.end(), [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); }));
  const json report = json::parse(text);
  EXPECT_EQ(report["stalls"][0]["shares"][0]["occupant"]["comm"], "ev\x1b]0;il\x07\xef\xbf\xbd");
}

TEST(Json, unknown_is_null) {
  const json report = render_as_json(diagnose::testing::stall_without_wait());
  EXPECT_TRUE(report["stalls"][0]["cpu"].is_null());
  EXPECT_TRUE(report["stalls"][0]["mode"].is_null());
  EXPECT_TRUE(report["stalls"][0]["packets_released"].is_null());
  EXPECT_TRUE(report["census"]["memory_cgroups"].is_null());
  EXPECT_TRUE(report["findings"][0]["confidence"].is_null());
  EXPECT_TRUE(render_as_json(diagnose::testing::passive())["probes"].is_null());
}

TEST(Json, has_the_sockets_that_were_behind) {
  Evidence evidence = diagnose::testing::quiet_run();
  evidence.sockets = {{"udp", "10.0.1.2:53", false, -1, 4'096, 17, 48'213, 911, "resolver"}};
  const json report = render_as_json(evidence);
  const json& socket = report["sockets"][0];
  EXPECT_TRUE(socket["queued_before"].is_null());
  EXPECT_EQ(socket["queued_after"], 4'096);
  EXPECT_EQ(socket["drop_count"], 17);
  EXPECT_EQ(socket["pid"], 911);
  EXPECT_EQ(report["findings"][0]["rule"], "socket-unread");
}

TEST(Json, has_the_cgroups_that_were_throttled) {
  const json report = render_as_json(diagnose::testing::throttled_server());
  const json& cgroup = report["throttled_cgroups"][0];
  EXPECT_EQ(cgroup["quota_ns"], 20'000'000);
  EXPECT_EQ(cgroup["period_ns"], 100'000'000);
  EXPECT_EQ(cgroup["throttled_count"], 171);
  EXPECT_EQ(cgroup["period_count"], 180);
  EXPECT_EQ(cgroup["local_address"], "10.0.1.2:8080");
  EXPECT_EQ(report["findings"][0]["rule"], "cfs-throttling");
}

TEST(Json, an_empty_bundle_is_a_report) {
  const json report = render_as_json(Evidence{});
  EXPECT_EQ(report["outcome"], "clean");
  EXPECT_TRUE(report["stalls"].is_array());
  EXPECT_FALSE(report["gaps"].empty());
}

}  // namespace
}  // namespace stallscope::report
