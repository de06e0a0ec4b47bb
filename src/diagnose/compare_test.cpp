// SPDX-License-Identifier: Apache-2.0
#include "diagnose/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "diagnose/diagnose.h"
#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;

Comparison compared(const Evidence& before, const Evidence& after) {
  return compare(before, diagnose(before), after, diagnose(after));
}

ComparedRow row_named(const Comparison& comparison, std::string_view name) {
  const auto found =
      std::find_if(comparison.rows.begin(), comparison.rows.end(), [&](const auto& row) { return row.name == name; });
  return found == comparison.rows.end() ? ComparedRow{} : *found;
}

TEST(Compare, FewerLateProbesAreBetterAndMoreAreWorse) {
  const Comparison better = compared(testing::incident(), testing::quiet_run());
  EXPECT_EQ(better.verdict, Change::better);
  EXPECT_THAT(better.reason, ::testing::HasSubstr("3 stalls"));
  EXPECT_EQ(compared(testing::quiet_run(), testing::incident()).verdict, Change::worse);
  EXPECT_EQ(row_named(better, "stalls").before, 3);
  EXPECT_EQ(row_named(better, "stalls").after, 0);
  EXPECT_EQ(row_named(better, "of them dying").before, 50'006);
  EXPECT_EQ(row_named(better, "of them dying").after, std::nullopt);
}

TEST(Compare, TheSameTwiceIsTheSame) {
  const Comparison same = compared(testing::incident(), testing::incident());
  EXPECT_EQ(same.verdict, Change::same);
  EXPECT_TRUE(same.warnings.empty());
}

TEST(Compare, WithoutProbesAndTracerNothingCanBeTold) {
  EXPECT_EQ(compared(Evidence{}, Evidence{}).verdict, Change::unknown);
}

TEST(Compare, SaysWhatIsNotAlike) {
  Evidence after = testing::quiet_run();
  after.run.kernel_release = "6.99";
  after.run.hostname = "another";
  EXPECT_THAT(compared(testing::quiet_run(), after).warnings, ::testing::SizeIs(2));
}

}  // namespace
}  // namespace stallscope::diagnose
