// SPDX-License-Identifier: Apache-2.0
#include "shape/statistics.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace stallscope::shape {
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

TEST(SlopeInterval, is_as_wide_as_few_points_make_it) {
  // Student's t for 2 and for 20 degrees of freedom: 4.303 and 2.086.
  const std::optional<Interval> few = slope_interval({-1.0, 0.1}, 4);
  ASSERT_TRUE(few);
  EXPECT_NEAR(few->low, -1.4303, 1e-4);
  EXPECT_NEAR(few->high, -0.5697, 1e-4);
  EXPECT_NEAR(slope_interval({0.0, 1.0}, 22)->high, 2.086, 1e-3);
  EXPECT_FALSE(slope_interval({-1.0, std::nullopt}, 2));
}

TEST(PoissonTail, agrees_with_values_from_a_table) {
  EXPECT_NEAR(poisson_tail(1, 0.5), 1 - std::exp(-0.5), 1e-12);
  EXPECT_NEAR(poisson_tail(5, 2.0), 0.052653, 1e-6);
  EXPECT_NEAR(poisson_tail(2, 10.0), 0.999501, 1e-6);
  EXPECT_EQ(poisson_tail(0, 3.0), 1.0);
  EXPECT_EQ(poisson_tail(1, 0.0), 0.0);
  EXPECT_LT(poisson_tail(1'000, 1.0), 1e-300);
}

TEST(HypergeometricTail, is_fishers_exact_test) {
  // The lady tasting tea: 4 of 4 right has a chance of 1/70, 3 or more of 17/70.
  EXPECT_NEAR(std::exp(log_hypergeometric_tail(4, 8, 4, 4)), 1.0 / 70, 1e-12);
  EXPECT_NEAR(std::exp(log_hypergeometric_tail(3, 8, 4, 4)), 17.0 / 70, 1e-12);
  EXPECT_EQ(log_hypergeometric_tail(0, 8, 4, 4), 0.0);
  EXPECT_TRUE(std::isinf(log_hypergeometric_tail(5, 8, 4, 4)));
  // Far below what a double holds.
  EXPECT_NEAR(log_hypergeometric_tail(5'000, 10'000, 5'000, 5'000), -log_choose(10'000, 5'000), 1e-6);
}

TEST(CombinedChance, is_fishers_method) {
  // One test is itself; for two the tail of chi-squared with 4 degrees of freedom at 11.983 is 0.0175 (two times 0.05: p = 0.0175).
  EXPECT_NEAR(std::exp(log_combined_chance(std::log(0.05), 1)), 0.05, 1e-12);
  EXPECT_NEAR(std::exp(log_combined_chance(2 * std::log(0.05), 2)), 0.0175, 1e-4);
  EXPECT_EQ(log_combined_chance(0.0, 3), 0.0);
}

}  // namespace
}  // namespace stallscope::shape
