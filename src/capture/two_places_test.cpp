// SPDX-License-Identifier: Apache-2.0
#include "capture/two_places.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/units.h"

namespace stallscope::capture {
namespace {

using base::ns_per_ms;

constexpr std::int64_t first_sent_ns = 1'700'000'000'000'000'000;

Observation handshake(std::int64_t number, std::int64_t rtt_ns) {
  Observation observation;
  observation.key.kind = ExchangeKind::handshake;
  observation.key.near = {10, 0, 1, 1};
  observation.key.far = {10, 96, 0, 1};
  observation.key.near_port = static_cast<std::uint16_t>(number);
  observation.key.far_port = 80;
  observation.sequence = static_cast<std::uint32_t>(number);
  observation.mark = static_cast<std::uint32_t>(1'000 + number);
  observation.sent_ns = first_sent_ns + (number * 10'000);
  observation.answered_ns = observation.sent_ns + rtt_ns;
  observation.answer = evidence::AnswerKind::syn_ack;
  return observation;
}

/// As the far host sees it, whose clock is 7 s ahead: 0.1 ms later, answered after 0.1 ms.
Observation arrived(Observation observation, std::int64_t wait_ns = 0) {
  constexpr std::int64_t ahead_ns = 7 * base::ns_per_s;
  observation.sent_ns += ahead_ns + 100'000 + wait_ns;
  observation.answered_ns = observation.sent_ns + 100'000;
  return observation;
}

Observation translated(Observation observation) {
  observation.key.near = {10, 0, 1, 2};
  observation.key.near_port = static_cast<std::uint16_t>(observation.key.near_port + 20'000);
  observation.key.far = {10, 244, 0, 5};
  observation.key.far_port = 8080;
  return observation;
}

TEST(Match, FindsTheOffsetOfClocksAndWhereTheTimeWent) {
  std::vector<Observation> near;
  std::vector<Observation> far;
  for (std::int64_t number = 0; number < 100; ++number) {
    const std::int64_t wait_ns = number == 50 ? 40 * ns_per_ms : 0;
    near.push_back(handshake(number, 300'000 + wait_ns));
    far.insert(far.begin(), arrived(handshake(number, 0), wait_ns));
  }
  const std::optional<TwoPlaces> places = match(near, far);
  ASSERT_TRUE(places);
  EXPECT_EQ(places->matched_count, 100);
  EXPECT_EQ(places->translated_count, 0);
  EXPECT_NEAR(static_cast<double>(places->clock.difference_ns - 7 * base::ns_per_s), 0, 1000);
  EXPECT_LE(places->clock.uncertainty_ns, 101'000);
  ASSERT_TRUE(places->far[50]);
  EXPECT_NEAR(static_cast<double>(places->far[50]->sent_ns - near[50].sent_ns), 40.1e6, 1000);
  EXPECT_EQ(places->far[50]->rtt_ns(), 100'000);
  EXPECT_FALSE(match(near, {}));
}

TEST(Match, FollowsAClockThatDriftsAway) {
  std::vector<Observation> near;
  std::vector<Observation> far;
  // Over an hour, 40 ppm are 144 ms: more than the stall.
  constexpr double drift = 40e-6;
  constexpr std::int64_t count = 3'600;
  constexpr std::int64_t held = count / 2;
  const auto far_clock = [](std::int64_t near_ns) {
    return near_ns - base::ns_per_s + std::llround(drift * static_cast<double>(near_ns - first_sent_ns));
  };
  for (std::int64_t number = 0; number < count; ++number) {
    const std::int64_t wait_ns = number == held ? 60 * ns_per_ms : 0;
    Observation here = handshake(number, 0);
    here.sent_ns = first_sent_ns + (number * base::ns_per_s);
    here.answered_ns = here.sent_ns + 300'000 + wait_ns;
    near.push_back(here);
    Observation there = here;
    there.sent_ns = far_clock(here.sent_ns + 100'000 + wait_ns);
    there.answered_ns = far_clock(here.sent_ns + 200'000 + wait_ns);
    far.push_back(there);
  }
  const std::optional<TwoPlaces> places = match(near, far);
  ASSERT_TRUE(places);
  EXPECT_NEAR(places->clock.drift, drift, 0.1e-6);
  EXPECT_LE(places->clock.uncertainty_ns, 300'000);
  for (std::int64_t number = 0; number < count; ++number) {
    const auto at = static_cast<std::size_t>(number);
    const auto before_ns = static_cast<double>(places->far[at]->sent_ns - near[at].sent_ns);
    ASSERT_NEAR(before_ns, number == held ? 60.1e6 : 0.1e6, 0.2e6) << number;
  }
}

TEST(Match, KnowsExchangesAgainThatHaveOtherAddresses) {
  std::vector<Observation> near;
  std::vector<Observation> far;
  for (std::int64_t number = 0; number < 100; ++number) {
    const std::int64_t wait_ns = number == 50 ? 40 * ns_per_ms : 0;
    near.push_back(handshake(number, 300'000 + wait_ns));
    far.push_back(translated(arrived(handshake(number, 0), wait_ns)));
  }
  const std::optional<TwoPlaces> places = match(near, far);
  ASSERT_TRUE(places);
  EXPECT_EQ(places->matched_count, 100);
  EXPECT_EQ(places->translated_count, 100);
  EXPECT_EQ(places->ambiguous_count, 0);
  EXPECT_NEAR(static_cast<double>(places->far[50]->sent_ns - near[50].sent_ns), 40.1e6, 1000);
}

TEST(Match, DoesNotGuessWhichOfSeveralItWas) {
  const std::vector<Observation> near = {handshake(1, 300'000), handshake(2, 300'000)};
  Observation other = translated(arrived(near[0]));
  other.key.far[3] = 6;
  const std::optional<TwoPlaces> places = match(near, {translated(arrived(near[0])), other, arrived(near[1])});
  ASSERT_TRUE(places);
  EXPECT_EQ(places->matched_count, 1);
  EXPECT_FALSE(places->far[0]);
  EXPECT_EQ(places->ambiguous_count, 1);
  // Without a mark, nothing tells that they are one.
  Observation unmarked = near[0];
  unmarked.mark = 0;
  EXPECT_FALSE(match({unmarked}, {translated(arrived(unmarked))}));
}

}  // namespace
}  // namespace stallscope::capture
