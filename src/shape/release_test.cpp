// SPDX-License-Identifier: Apache-2.0
#include "shape/release.h"

#include <gtest/gtest.h>

namespace stallscope::shape {
namespace {

TEST(Release, allows_for_draining_and_for_the_error_of_the_fit) {
  EXPECT_EQ(judge_release({-0.96, 0.001}, 0, 0), Release::together);
  EXPECT_EQ(judge_release({-0.9, 0.001}, 0, 0), Release::apart);
  EXPECT_EQ(judge_release({-0.9, 0.04}, 0, 0), Release::together);
  EXPECT_EQ(judge_release({-1.0, 0.3}, 0, 0), Release::unknown);
}

TEST(Release, of_two_packets_is_told_by_their_arrivals) {
  EXPECT_EQ(judge_release({-0.9, std::nullopt}, 10 * base::ns_per_ms, 2 * base::ns_per_ms), Release::together);
  EXPECT_EQ(judge_release({-0.5, std::nullopt}, 10 * base::ns_per_ms, 5 * base::ns_per_ms), Release::apart);
  EXPECT_EQ(judge_release({-1.2, std::nullopt}, 10 * base::ns_per_ms, -2 * base::ns_per_ms), Release::together);
}

}  // namespace
}  // namespace stallscope::shape
