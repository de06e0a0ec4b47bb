// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/text.h"

namespace stallscope::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

host::HostFacts hostile_host() {
  host::HostFacts facts;
  facts.kernel.hostname = "node\x1b[31m\xff";
  facts.kernel.release = "5.10.0";
  facts.kernel.online_cpus = {0};
  facts.kernel.possible_cpus = {0, 1, 2};
  return facts;
}

host::Readiness one_of_each() {
  host::Readiness readiness;
  readiness.verdict = host::Verdict::partial;
  readiness.checks = {
      {"softirq_raise", host::Need::wanted, host::Presence::present, "tells since when packets wait", "", "", "", "5.5", ""},
      {"softirq_exit", host::Need::wanted, host::Presence::absent, "tells how long", "left out", "Long work is invisible.", "",
       "5.5", ""},
      {"fentry", host::Need::extra, host::Presence::unknown, "times functions", "not tested", "No cheap timing.", "", "5.5",
       "abc"}};
  readiness.advice = {"run as root"};
  return readiness;
}

TEST(DoctorText, GroupsWhatCanBeSeenAndWhatEachGapCosts) {
  const std::string text = doctor_text(hostile_host(), one_of_each(), 80);
  EXPECT_THAT(text, HasSubstr("only in part"));
  EXPECT_THAT(text, HasSubstr("\nCan see (1)\n  softirq_raise             tells since when packets wait\n"));
  EXPECT_THAT(text, HasSubstr("\nCannot see (1)\n! softirq_exit              left out. Long work is invisible.\n"));
  EXPECT_THAT(text, HasSubstr("\nUnknown (1)\n  fentry                    not tested. No cheap timing.\n"));
  EXPECT_THAT(text, HasSubstr("\nWhat helps\n  - run as root\n"));
  EXPECT_THAT(text, HasSubstr("1 CPU (2 more possible)"));
}

TEST(DoctorText, FitsTheWidthAndEscapesTheHostName) {
  const std::string text = doctor_text(hostile_host(), one_of_each(), 80);
  for (const std::string_view line : base::split(text, '\n')) {
    EXPECT_LE(line.size(), 80U) << line;
  }
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, HasSubstr("node\\x1b[31m\\xff"));
}

TEST(DoctorJson, SaysTheSame) {
  const nlohmann::json json = nlohmann::json::parse(doctor_json(hostile_host(), one_of_each()));
  EXPECT_EQ(json["schema"], "stallscope-doctor-1");
  EXPECT_EQ(json["verdict"], "partial");
  EXPECT_EQ(json["checks"].size(), 3U);
  EXPECT_EQ(json["checks"][1]["state"], "absent");
  EXPECT_EQ(json["checks"][1]["need"], "wanted");
  EXPECT_EQ(json["checks"][2]["commit"], "abc");
  EXPECT_TRUE(json["host"]["timer_hz"].is_null()) << "unknown is not zero";
  EXPECT_TRUE(json["host"]["virtualised"].is_null());
}

}  // namespace
}  // namespace stallscope::cli
