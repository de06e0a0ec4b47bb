// SPDX-License-Identifier: Apache-2.0
#include "remedy/pacer.h"

#include <gtest/gtest.h>

namespace stallscope::remedy {
namespace {

using base::ns_per_ms;

Pacer pacer() {
  Pacer::Limits limits;
  limits.allowed_ns = 4 * ns_per_ms;
  limits.first_step = 100;
  limits.largest_step = 1'000;
  return Pacer(limits);
}

TEST(Pacer, GrowsWhileNothingIsFeltUpToItsLimit) {
  Pacer paced = pacer();
  paced.learn(0);
  EXPECT_EQ(paced.step(), 150);
  for (int i = 0; i < 20; ++i) {
    paced.learn(0);
  }
  EXPECT_EQ(paced.step(), 1'000);
}

TEST(Pacer, StaysBetweenAQuarterAndHalfOfWhatIsAllowed) {
  Pacer paced = pacer();
  paced.learn(3 * ns_per_ms / 2);
  EXPECT_EQ(paced.step(), 100);
}

TEST(Pacer, ShrinksBeforeTheLimitAndPausesBeyondIt) {
  Pacer paced = pacer();
  const std::int64_t pause_ns = paced.pause_ns();
  paced.learn(3 * ns_per_ms);
  EXPECT_EQ(paced.step(), 66);
  EXPECT_EQ(paced.pause_ns(), pause_ns);
  paced.learn(5 * ns_per_ms);
  EXPECT_EQ(paced.step(), 16);
  EXPECT_EQ(paced.pause_ns(), 4 * pause_ns);
}

TEST(Pacer, NeverStopsAltogether) {
  Pacer paced = pacer();
  for (int i = 0; i < 20; ++i) {
    paced.learn(base::ns_per_s);
  }
  EXPECT_EQ(paced.step(), 1);
  EXPECT_EQ(paced.pause_ns(), base::ns_per_s);
  paced.learn(0);
  EXPECT_EQ(paced.step(), 2);
}

}  // namespace
}  // namespace stallscope::remedy
