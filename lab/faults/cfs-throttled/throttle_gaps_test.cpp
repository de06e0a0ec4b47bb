// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/cfs-throttled/throttle_gaps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stallscope::lab::cfs_throttled {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ThrottledGaps, AreTheLongestInOrderOfTime) {
  const std::vector<Gap> gaps = {{10, 40}, {50, 52}, {60, 160}, {170, 171}};
  EXPECT_THAT(throttled_gaps(gaps, 2), ElementsAre(Gap{10, 40}, Gap{60, 160}));
  EXPECT_THAT(throttled_gaps(gaps, 1), ElementsAre(Gap{60, 160}));
  EXPECT_THAT(throttled_gaps(gaps, 9).size(), 4U);
  EXPECT_THAT(throttled_gaps(gaps, 0), IsEmpty());
  EXPECT_THAT(throttled_gaps(gaps, -1), IsEmpty());
}

}  // namespace
}  // namespace stallscope::lab::cfs_throttled
