// SPDX-License-Identifier: Apache-2.0
#include "diagnose/statistics.h"

#include <gtest/gtest.h>

#include <array>

namespace stallscope::diagnose {
namespace {

TEST(Median, takes_the_middle_and_the_lower_of_two) {
  EXPECT_EQ(median({5, 1, 9}), 5);
  EXPECT_EQ(median({4, 1, 9, 2}), 2);
  EXPECT_EQ(median({}), 0);
}

TEST(FitLine, finds_slope_and_error_of_a_known_line) {
  // y = 3 - 2x with residuals +1, -1, -1, +1: slope -2, error sqrt(4 / 2 / 5).
  const std::array<Point, 4> points = {{{0, 4}, {1, 0}, {2, -2}, {3, -2}}};
  const std::optional<SlopeFit> fit = fit_line(points);
  ASSERT_TRUE(fit);
  EXPECT_NEAR(fit->slope, -2.0, 1e-12);
  ASSERT_TRUE(fit->standard_error);
  EXPECT_NEAR(*fit->standard_error, 0.632455532, 1e-9);
}

TEST(FitLine, knows_no_error_of_two_points_and_no_slope_of_one) {
  const std::array<Point, 2> two = {{{0, 10}, {10, 0}}};
  const std::optional<SlopeFit> fit = fit_line(two);
  ASSERT_TRUE(fit);
  EXPECT_DOUBLE_EQ(fit->slope, -1.0);
  EXPECT_FALSE(fit->standard_error);
  EXPECT_FALSE(fit_line(std::span(two).first(1)));
  const std::array<Point, 2> same_x = {{{1, 10}, {1, 0}}};
  EXPECT_FALSE(fit_line(same_x));
}

TEST(BinomialTail, agrees_with_values_from_a_table) {
  EXPECT_NEAR(binomial_tail(3, 3, 0.1), 0.001, 1e-12);
  EXPECT_NEAR(binomial_tail(8, 10, 0.5), 56.0 / 1024.0, 1e-12);
  EXPECT_NEAR(binomial_tail(1, 2'000, 0.001), 0.864800, 1e-6);
}

TEST(BinomialTail, is_certain_or_impossible_at_the_edges) {
  EXPECT_EQ(binomial_tail(0, 5, 0.2), 1.0);
  EXPECT_EQ(binomial_tail(6, 5, 0.2), 0.0);
  EXPECT_EQ(binomial_tail(1, 5, 0.0), 0.0);
  EXPECT_EQ(binomial_tail(5, 5, 1.0), 1.0);
}

}  // namespace
}  // namespace stallscope::diagnose
