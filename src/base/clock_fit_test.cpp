// SPDX-License-Identifier: Apache-2.0
#include "base/clock_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <random>

#include "base/units.h"

namespace stallscope::base {
namespace {

struct Truth {
  std::int64_t difference_ns = -7'000 * ns_per_s;
  double drift = 0;

  [[nodiscard]] std::int64_t to_far(std::int64_t near_ns) const {
    return near_ns + difference_ns + std::llround(drift * static_cast<double>(near_ns));
  }
};

/// Probes every 10 ms that take 10 to 200 us each way, by the exponential distribution that queues make; `held`: every tenth second
/// a stall of 60 ms holds what arrives.
std::vector<ClockBound> measure(const Truth& truth, std::int64_t seconds, bool held) {
  std::mt19937_64 random(11);
  std::exponential_distribution<double> way_us(1.0 / 40);
  std::vector<ClockBound> bounds;
  for (std::int64_t sent_ns = 0; sent_ns < seconds * ns_per_s; sent_ns += 10 * ns_per_ms) {
    const auto way_ns = [&] { return 10 * ns_per_us + std::llround(way_us(random) * ns_per_us); };
    const std::int64_t into_stall_ns = sent_ns % (10 * ns_per_s);
    const std::int64_t hold_ns = held && into_stall_ns < 60 * ns_per_ms ? 60 * ns_per_ms - into_stall_ns : 0;
    const std::int64_t arrived_ns = sent_ns + way_ns() + hold_ns;
    const std::int64_t back_ns = arrived_ns + way_ns();
    bounds.push_back({sent_ns, truth.to_far(arrived_ns) - back_ns, truth.to_far(arrived_ns) - sent_ns});
  }
  return bounds;
}

void expect_found(const Truth& truth, const std::vector<ClockBound>& bounds, std::int64_t tolerance_ns) {
  const auto fit = fit_clocks(bounds);
  ASSERT_TRUE(fit);
  for (const ClockBound& bound : bounds) {
    ASSERT_NEAR(static_cast<double>(fit->to_far(bound.at_ns) - truth.to_far(bound.at_ns)), 0, static_cast<double>(tolerance_ns));
    ASSERT_NEAR(static_cast<double>(fit->to_near(fit->to_far(bound.at_ns)) - bound.at_ns), 0, 1);
  }
  EXPECT_LE(fit->uncertainty_ns, tolerance_ns);
}

TEST(ClockFit, FindsTheDifferenceWithinARoundTrip) {
  const Truth truth;
  expect_found(truth, measure(truth, 20, false), 15 * ns_per_us);
}

TEST(ClockFit, IsNotMisledByStallsThatHoldOneWay) {
  const Truth truth;
  expect_found(truth, measure(truth, 40, true), 15 * ns_per_us);
}

TEST(ClockFit, FollowsAClockThatRunsFaster) {
  const Truth truth{.difference_ns = 3 * ns_per_s, .drift = 50e-6};
  expect_found(truth, measure(truth, 120, true), 60 * ns_per_us);
}

TEST(ClockFit, KnowsHowLittleAShortRecordingSaysOfTheDrift) {
  const Truth truth{.difference_ns = 3 * ns_per_s, .drift = 50e-6};
  const auto brief = fit_clocks(measure(truth, 1, false));
  const auto lengthy = fit_clocks(measure(truth, 120, true));
  ASSERT_TRUE(brief && lengthy);
  EXPECT_GT(brief->drift_uncertainty, 5e-6);
  EXPECT_LT(lengthy->drift_uncertainty, 1e-6);
  for (const ClockFit& fit : {*brief, *lengthy}) {
    EXPECT_LE(std::abs(fit.drift - truth.drift), fit.drift_uncertainty);
  }
  EXPECT_TRUE(std::isinf(fit_clocks({{1'000, 5'000, 5'400}})->drift_uncertainty));
}

TEST(ClockFit, OneProbeBoundsItByHalfItsRoundTrip) {
  const auto fit = fit_clocks({{1'000, 5'000, 5'400}});
  ASSERT_TRUE(fit);
  EXPECT_EQ(fit->to_far(1'000), 6'200);
  EXPECT_EQ(fit->uncertainty_ns, 200);
  EXPECT_FALSE(fit_clocks({}));
}

TEST(ClockFit, BoundsThatContradictEachOtherShowAsUncertainty) {
  const auto fit = fit_clocks({{0, 0, 100}, {1'000, 5 * ns_per_ms, 5 * ns_per_ms + 100}});
  ASSERT_TRUE(fit);
  EXPECT_GT(fit->uncertainty_ns, 2 * ns_per_ms);
}

}  // namespace
}  // namespace stallscope::base
