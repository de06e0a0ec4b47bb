// SPDX-License-Identifier: Apache-2.0
#include "bisect/statistics.h"

#include <gtest/gtest.h>

#include <random>

namespace stallscope::bisect {
namespace {

using Decision = SequentialTest::Decision;

TEST(Wilson, AgreesWithPublishedValues) {
  // R. G. Newcombe, Statistics in Medicine 17 (1998), table I: method 3.
  const Interval first = wilson_interval(81, 263);
  EXPECT_NEAR(first.low, 0.2553, 0.0001);
  EXPECT_NEAR(first.high, 0.3662, 0.0001);
  const Interval none = wilson_interval(0, 20);
  EXPECT_EQ(none.low, 0);
  EXPECT_NEAR(none.high, 0.1611, 0.0001);
  EXPECT_EQ(wilson_interval(20, 20).high, 1);
  EXPECT_EQ(wilson_interval(0, 0).high, 1);
}

TEST(Poisson, AgreesWithTheTablesOfTheExactInterval) {
  EXPECT_NEAR(poisson_interval(0).high, 3.689, 0.001);
  EXPECT_NEAR(poisson_interval(1).low, 0.0253, 0.0001);
  EXPECT_NEAR(poisson_interval(1).high, 5.572, 0.001);
  EXPECT_NEAR(poisson_interval(14).low, 7.654, 0.001);
  EXPECT_NEAR(poisson_interval(14).high, 23.490, 0.001);
  EXPECT_NEAR(poisson_interval(1000).low, 938.97, 0.01);
  EXPECT_NEAR(poisson_upper_bound(0), 2.996, 0.001);
}

TEST(SequentialTestOf, ThreeHitsInARowDecideAndFourMisses) {
  SequentialTest crossing;
  SequentialTest clean;
  EXPECT_EQ(crossing.stalls_missing(), 4);
  for (int i = 0; i < 2; ++i) {
    crossing.add(true);
    EXPECT_EQ(crossing.decision(), Decision::open);
  }
  EXPECT_EQ(crossing.stalls_missing(), 1);
  crossing.add(true);
  EXPECT_EQ(crossing.decision(), Decision::crosses);
  EXPECT_EQ(crossing.stalls_missing(), 0);
  for (int i = 0; i < 3; ++i) {
    clean.add(false);
    EXPECT_EQ(clean.decision(), Decision::open);
  }
  clean.add(false);
  EXPECT_EQ(clean.decision(), Decision::clean);
}

TEST(SequentialTestOf, WhatIsLateInHalfOfTheStallsIsNotDecided) {
  SequentialTest half;
  for (int i = 0; i < 8; ++i) {
    half.add(true);
  }
  for (int i = 0; i < 11; ++i) {
    half.add(false);
  }
  EXPECT_EQ(half.decision(), Decision::open);
  EXPECT_GT(half.stalls_missing(), 0);
}

/// Of 20,000 tests, how many decide wrongly.
int wrong_decisions(double share, Decision wrong) {
  std::mt19937_64 random(1);
  std::bernoulli_distribution hit(share);
  int count = 0;
  for (int run = 0; run < 20'000; ++run) {
    SequentialTest test;
    while (test.decision() == Decision::open) {
      test.add(hit(random));
    }
    count += test.decision() == wrong ? 1 : 0;
  }
  return count;
}

TEST(SequentialTestOf, ErrsNoMoreOftenThanPromised) {
  EXPECT_LE(wrong_decisions(SequentialTest::crossing_share, Decision::clean), 20);
  EXPECT_LE(wrong_decisions(SequentialTest::clean_share, Decision::crosses), 20);
}

}  // namespace
}  // namespace stallscope::bisect
