// SPDX-License-Identifier: Apache-2.0
#include "diagnose/rules/flush_sections.h"

#include <gtest/gtest.h>

#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose::rules {
namespace {

using testing::ms;
using testing::run_start_ns;

evidence::Evidence with_sections() {
  evidence::Evidence evidence = testing::quiet_run(100);
  evidence.run.end_ns = run_start_ns + 1'000 * ms;
  const auto add = [&](std::int64_t start_ms, std::int64_t end_ms) {
    evidence.flushes.push_back({0, run_start_ns + start_ms * ms, run_start_ns + end_ms * ms, 1, 1, "reader", "/"});
  };
  add(300, 350);
  add(340, 400);
  add(700, 720);
  evidence.flushes.push_back({0, run_start_ns, run_start_ns + 1000, 1, 1, "short", "/"});
  return evidence;
}

TEST(FlushSections, cover_each_moment_once) {
  const evidence::Evidence evidence = with_sections();
  const FlushSections sections(evidence, TimeWindow(evidence.run));
  EXPECT_EQ(sections.covered_ns(0, run_start_ns, run_start_ns + 1'000 * ms), 120 * ms);
  EXPECT_EQ(sections.covered_ns(0, run_start_ns + 390 * ms, run_start_ns + 710 * ms), 20 * ms);
  EXPECT_EQ(sections.covered_ns(1, run_start_ns, run_start_ns + 1'000 * ms), 0);
}

TEST(FlushSections, chance_is_the_part_of_the_possible_starts_that_overlap) {
  const evidence::Evidence evidence = with_sections();
  const FlushSections sections(evidence, TimeWindow(evidence.run));
  // Of the starts in [0, 900] ms, those in [200, 400] and [600, 720] overlap.
  EXPECT_NEAR(sections.chance_of_overlap(0, 100 * ms), 320.0 / 900.0, 1e-9);
  EXPECT_EQ(sections.chance_of_overlap(1, 100 * ms), 0.0);
  EXPECT_EQ(sections.chance_of_overlap(0, 2'000 * ms), 1.0);
}

}  // namespace
}  // namespace stallscope::diagnose::rules
