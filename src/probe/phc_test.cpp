// SPDX-License-Identifier: Apache-2.0
#include "probe/phc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "base/units.h"

namespace stallscope::probe {
namespace {

using base::ns_per_ms;
using base::ns_per_s;
using base::ns_per_us;
using testing::HasSubstr;

/// A card whose clock is apart from ours and drifts, and whose reading takes a while.
class FakeCard {
 public:
  /// What its clock shows at a time of ours.
  [[nodiscard]] std::int64_t phc_at(std::int64_t monotonic_ns) const {
    return running ? offset_ns + monotonic_ns + std::llround(static_cast<double>(monotonic_ns) * drift) : offset_ns;
  }
  [[nodiscard]] PhcClock clock() {
    return PhcClock([this]() -> base::Result<PhcReading> {
      ++reads;
      if (broken) {
        return base::Error{"read", "/dev/ptp0", "broken", ""};
      }
      return PhcReading{.before_ns = now_ns, .phc_ns = phc_at(now_ns + (reading_ns / 2)), .after_ns = now_ns + reading_ns};
    });
  }

  std::int64_t now_ns = 0;
  std::int64_t offset_ns = 0;
  double drift = 0;
  std::int64_t reading_ns = 4 * ns_per_us;
  bool running = true;
  bool broken = false;
  int reads = 0;
};

TEST(PhcClock, TurnsACardsTimeIntoOursHoweverFarApartTheClocksAre) {
  for (const std::int64_t offset_ns : {std::int64_t{0}, 37 * ns_per_s, 1'700'000'000 * ns_per_s, -5 * ns_per_s}) {
    FakeCard card;
    card.offset_ns = offset_ns;
    card.now_ns = 10 * ns_per_s;
    PhcClock clock = card.clock();
    EXPECT_EQ(clock.to_monotonic(card.phc_at(9'998 * ns_per_ms), card.now_ns), 9'998 * ns_per_ms) << offset_ns;
  }
}

TEST(PhcClock, FollowsAClockThatDrifts) {
  FakeCard card;
  card.offset_ns = 37 * ns_per_s;
  card.drift = 100e-6;
  PhcClock clock = card.clock();
  for (card.now_ns = 10 * ns_per_s; card.now_ns < 20 * ns_per_s; card.now_ns += 10 * ns_per_ms) {
    const std::int64_t stamped_ns = card.now_ns - (100 * ns_per_ms);
    const auto told_ns = clock.to_monotonic(card.phc_at(stamped_ns), card.now_ns);
    ASSERT_TRUE(told_ns);
    // Before the second reading the drift is not known.
    const std::int64_t error_ns = card.reads < 2 ? 40 * ns_per_us : ns_per_us;
    ASSERT_LE(std::abs(*told_ns - stamped_ns), error_ns) << "at " << card.now_ns;
  }
  EXPECT_EQ(card.reads, 10 * ns_per_s / PhcClock::read_every_ns);
}

TEST(PhcClock, AStepOfTheCardsClockIsNoDrift) {
  FakeCard card;
  card.now_ns = 10 * ns_per_s;
  PhcClock clock = card.clock();
  ASSERT_EQ(clock.to_monotonic(card.phc_at(card.now_ns), card.now_ns), card.now_ns);
  card.offset_ns = 37 * ns_per_s;
  card.now_ns += PhcClock::read_every_ns;
  EXPECT_EQ(clock.to_monotonic(card.phc_at(card.now_ns - ns_per_ms), card.now_ns), card.now_ns - ns_per_ms);
}

TEST(PhcClock, AClockThatStandsStillTellsNothing) {
  FakeCard card;
  card.running = false;
  card.now_ns = 10 * ns_per_s;
  PhcClock clock = card.clock();
  static_cast<void>(clock.to_monotonic(1, card.now_ns));
  for (int i = 0; i < 4; ++i) {
    card.now_ns += PhcClock::read_every_ns;
    EXPECT_FALSE(clock.to_monotonic(1, card.now_ns)) << i;
  }
  card.running = true;
  card.now_ns += PhcClock::read_every_ns;
  EXPECT_TRUE(clock.to_monotonic(card.phc_at(card.now_ns), card.now_ns));
}

TEST(PhcClock, TellsNothingWhileTheClockCannotBeReadAndAsksNoOftenerForThat) {
  FakeCard card;
  card.broken = true;
  card.now_ns = 10 * ns_per_s;
  PhcClock clock = card.clock();
  EXPECT_FALSE(clock.to_monotonic(1, card.now_ns));
  EXPECT_FALSE(clock.to_monotonic(1, card.now_ns + 1));
  EXPECT_EQ(card.reads, 1);
  card.broken = false;
  card.now_ns += PhcClock::read_every_ns;
  EXPECT_EQ(clock.to_monotonic(card.phc_at(card.now_ns), card.now_ns), card.now_ns);
}

TEST(ClosestSample, IsTheOneThatWasReadFastest) {
  constexpr std::array<PhcSample, 4> samples = {{{100, 1, 130}, {200, 2, 210}, {300, 3, 290}, {400, 4, 490}}};
  EXPECT_EQ(closest_sample(samples), samples[1]);
  EXPECT_FALSE(closest_sample(std::span(samples).subspan(2, 1))) << "a clock that was set back meanwhile";
  EXPECT_FALSE(closest_sample({}));
}

TEST(Phc, WhatIsNotThereIsNamed) {
  constexpr std::int32_t none = 987'654;
  const base::Result<Phc> phc = Phc::open(none);
  ASSERT_FALSE(phc);
  EXPECT_THAT(phc.error().message(), HasSubstr("/dev/ptp987654"));
}

}  // namespace
}  // namespace stallscope::probe
