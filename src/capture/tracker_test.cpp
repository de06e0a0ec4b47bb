// SPDX-License-Identifier: Apache-2.0
#include "capture/tracker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <limits>
#include <random>
#include <set>
#include <span>
#include <vector>

#include "base/units.h"
#include "capture/evidence.h"
#include "capture/key_numbers.h"
#include "capture/observations.h"
#include "capture/packet_facts.h"
#include "capture/testing.h"

namespace stallscope::capture {
namespace {

using namespace testing;
using base::ns_per_ms;

constexpr std::int64_t start_ns = 1'700'000'000'000'000'000;

ExchangeKey exchange_key(std::int64_t number) {
  ExchangeKey key;
  key.kind = ExchangeKind::handshake;
  key.near_port = static_cast<std::uint16_t>(number);
  key.near[1] = static_cast<std::uint8_t>(number >> 16U);
  return key;
}

class Collect : public ObservationSink {
 public:
  void take(std::span<const Observation> observations) override {
    seen.insert(seen.end(), observations.begin(), observations.end());
  }
  std::vector<Observation> seen;
};

/// Packets, and what a tracker makes of them.
class Traffic {
 public:
  void add(std::int64_t ms, Buffer packet) {
    bytes_.push_back(std::move(packet));
    packets_.push_back({start_ns + (ms * ns_per_ms), bytes_.back(), static_cast<std::uint32_t>(bytes_.back().size()),
                        link_type::raw_ip, 0, static_cast<std::uint32_t>(packets_.size() + 1)});
  }
  void request(std::int64_t ms, std::uint16_t port, std::uint32_t sequence, std::uint32_t timestamp = 0) {
    add(ms, ipv4(client, server, 6, tcp(port, 443, sequence, 0, 0x02, timestamp)));
  }
  void answer(std::int64_t ms, std::uint16_t port, std::uint32_t sequence, std::uint8_t flags = 0x12, std::uint32_t echo = 0) {
    add(ms, ipv4(server, client, 6, tcp(443, port, 5, sequence + 1, flags, echo == 0 ? 0 : 1, echo)));
  }
  std::vector<Observation> run() {
    Collect sink;
    FactReader reader;
    Tracker tracker(sink);
    std::vector<PacketFacts> all;
    for (const Packet& packet : packets_) {
      Decoded decoded;
      decode(packet.data, packet.link, decoded);
      if (PacketFacts facts; reader.read(packet, decoded, facts)) {
        all.push_back(facts);
      }
    }
    tracker.add(all);
    tracker.finish();
    counts = tracker.counts();
    static_cast<PacketCounts&>(counts) = reader.counts();
    return sink.seen;
  }
  TrackerCounts counts;

 private:
  std::deque<Buffer> bytes_;
  std::vector<Packet> packets_;
};

TEST(Tracker, TimesHandshakesRefusalsAndEchoes) {
  Traffic traffic;
  traffic.request(0, 40'000, 100);
  traffic.answer(3, 40'000, 100);
  traffic.request(10, 40'001, 200);
  traffic.answer(14, 40'001, 200, 0x14);
  traffic.add(20, ipv4(client, server, 1, echo(8, 1, 2)));
  traffic.add(25, ipv4(server, client, 1, echo(0, 1, 2)));
  traffic.add(30, ipv6(1, 2, 58, echo(128, 1, 2)));
  traffic.add(36, ipv6(2, 1, 58, echo(129, 1, 2)));
  const std::vector<Observation> seen = traffic.run();
  ASSERT_EQ(seen.size(), 4U);
  const std::array<std::int64_t, 4> rtts_ms = {3, 4, 5, 6};
  for (std::size_t at = 0; at < seen.size(); ++at) {
    EXPECT_EQ(seen[at].rtt_ns(), rtts_ms[at] * ns_per_ms);
  }
  EXPECT_EQ(seen[0].answer, evidence::AnswerKind::syn_ack);
  EXPECT_EQ(seen[1].answer, evidence::AnswerKind::reset);
  EXPECT_EQ(address_text(seen[0].key.near, false), "10.0.1.1");
  EXPECT_EQ(address_text(seen[3].key.far, true), "fd00::2");
}

TEST(Tracker, TellsALateAnswerFromOneToAResentSyn) {
  Traffic late;
  late.request(0, 40'000, 100, 1000);
  late.request(1000, 40'000, 100, 2000);
  late.answer(1100, 40'000, 100, 0x12, 1000);
  std::vector<Observation> seen = late.run();
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].rtt_ns(), 1100 * ns_per_ms);
  EXPECT_EQ(seen[0].resent_count, 0);
  EXPECT_EQ(late.counts.resent_count, 1);

  Traffic resent;
  resent.request(0, 40'000, 100, 1000);
  resent.request(1000, 40'000, 100, 2000);
  resent.answer(1002, 40'000, 100, 0x12, 2000);
  seen = resent.run();
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_FALSE(seen[0].answered());
  EXPECT_EQ(seen[1].rtt_ns(), 2 * ns_per_ms);
  EXPECT_EQ(seen[1].resent_count, 1);
}

TEST(Tracker, TakesTheSamePacketOnAnotherInterfaceForOne) {
  Traffic traffic;
  traffic.request(0, 40'000, 100);
  traffic.request(0, 40'000, 100);
  traffic.answer(7, 40'000, 100);
  traffic.answer(7, 40'000, 100);
  const std::vector<Observation> seen = traffic.run();
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(traffic.counts.duplicate_count, 1);
  EXPECT_EQ(traffic.counts.resent_count, 0);
}

TEST(Tracker, AnswersToSomethingElseAreNone) {
  Traffic traffic;
  traffic.request(0, 40'000, 100);
  traffic.answer(1, 40'000, 999);
  traffic.answer(2, 40'001, 100);
  traffic.add(3, ipv4(server, client, 1, echo(0, 1, 2)));
  const std::vector<Observation> seen = traffic.run();
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_FALSE(seen[0].answered());
}

TEST(Tracker, TimeGoingBackwardsIsCountedAndLeftOut) {
  Traffic traffic;
  traffic.request(100, 40'000, 100);
  traffic.answer(50, 40'000, 100);
  const std::vector<Observation> seen = traffic.run();
  EXPECT_EQ(traffic.counts.backwards_count, 1);
  EXPECT_EQ(traffic.counts.impossible_count, 1);
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_FALSE(seen[0].answered());
}

TEST(Tracker, SeesThatARequestStoodInABacklog) {
  Traffic traffic;
  traffic.request(60, 40'001, 200);  // of another CPU, taken out first
  traffic.request(10, 40'000, 100);
  traffic.answer(61, 40'000, 100);
  for (const Observation& observation : traffic.run()) {
    EXPECT_EQ(observation.queued_ns(), observation.answered() ? 50 * ns_per_ms : 0);
  }
}

TEST(Tracker, SaysWhichPacketsTheyWere) {
  Traffic traffic;
  traffic.add(0, ipv4(client, server, 17, {0, 1, 0, 2, 0, 8, 0, 0}));
  traffic.request(1, 40'000, 100);
  traffic.request(1001, 40'000, 100);
  traffic.answer(1002, 40'000, 100);
  const std::vector<Observation> seen = traffic.run();
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_EQ(seen[0].request_packet, 2U);
  EXPECT_EQ(seen[0].answer_packet, 0U);
  EXPECT_EQ(seen[1].request_packet, 3U);
  EXPECT_EQ(seen[1].answer_packet, 4U);
}

struct Slot {
  ExchangeKey key;
  std::int64_t time_ns;
  /// From when on it may give way.
  std::int64_t over_ns;
  [[nodiscard]] bool spare(std::int64_t now_ns) const { return now_ns >= over_ns; }
  [[nodiscard]] std::int64_t worth() const { return time_ns; }
  void prefetch() const {}
};

TEST(SlotTable, GrowsToItsLimitAndThenForgetsTheOldest) {
  constexpr std::size_t most = 4'096;
  SlotTable<Slot> table(most);
  EXPECT_TRUE(table.empty());
  std::int64_t forgotten = 0;
  constexpr std::int64_t count = 3 * most;
  for (std::int64_t number = 0; number < count; ++number) {
    const ExchangeKey key = exchange_key(number);
    ASSERT_EQ(table.find(key, table.hash_of(key)), nullptr);
    Slot& slot = table.make_room(table.hash_of(key), number, [&](const Slot&) { ++forgotten; });
    slot = {key, number, std::numeric_limits<std::int64_t>::max()};
    ASSERT_EQ(table.find(key, table.hash_of(key)), &slot);
  }
  EXPECT_EQ(table.size_bytes(), most * (sizeof(Slot) + sizeof(TagBucket::Tag)));
  std::int64_t kept = 0;
  std::int64_t sum = 0;
  table.each([&](const Slot& slot) {
    ++kept;
    sum += slot.time_ns;
  });
  EXPECT_EQ(kept + forgotten, count);
  EXPECT_GT(kept, static_cast<std::int64_t>(most * 9 / 10));
  EXPECT_GT(sum / kept, count / 2) << "the young ones stay";
}

TEST(Hash, OfKeysThatCountUpLeavesNoBucketOutWhateverTheSeed) {
  constexpr std::size_t buckets = 512;
  constexpr std::int64_t keys = 16 * buckets;
  std::mt19937_64 random(1);
  for (int round = 0; round < 500; ++round) {
    const std::uint64_t seed = random();
    std::array<int, buckets> counts{};
    for (std::int64_t number = 0; number < keys; ++number) {
      ++counts.at(hash(exchange_key(number), seed) % buckets);
    }
    // Were they drawn, a bucket would have none with one seed of 17,000, and 48 or more with one of ten million.
    ASSERT_GT(*std::min_element(counts.begin(), counts.end()), 0) << seed;
    ASSERT_LT(*std::max_element(counts.begin(), counts.end()), 48) << seed;
  }
}

TEST(SlotTable, IsSmallAgainForTheCachesAfterARush) {
  constexpr std::int64_t rush = 4'096;
  SlotTable<Slot> table(std::size_t{1} << 16U);
  const auto add = [&](std::int64_t number) {
    const std::uint64_t hash = table.hash_of(exchange_key(number));
    Slot& slot = table.make_room(hash, number, [](const Slot&) {});
    // What is of the rush is over with it, what comes later at once.
    slot = {exchange_key(number), number, std::max(number + 1, rush)};
    return &slot;
  };
  for (std::int64_t number = 0; number < rush; ++number) {
    static_cast<void>(add(number));
  }
  const std::size_t size_bytes = table.size_bytes();
  const auto slots = static_cast<std::int64_t>(size_bytes / (sizeof(Slot) + sizeof(TagBucket::Tag)));
  // First the places that are still empty are filled, of which each bucket has some.
  std::int64_t number = rush;
  std::set<const Slot*> full;
  while (number < rush + (8 * slots)) {
    full.insert(add(number++));
  }
  std::set<const Slot*> used;
  while (number < rush + (12 * slots)) {
    used.insert(add(number++));
  }
  EXPECT_EQ(table.size_bytes(), size_bytes);
  EXPECT_GT(full.size(), 2 * used.size());
}

TEST(Tracker, PairsWhatIsTooMuchForACache) {
  constexpr std::uint16_t count = 40'000;
  Traffic traffic;
  for (std::uint16_t port = 0; port < count; ++port) {
    traffic.request(port / 1'000, port, port);
  }
  for (std::uint16_t port = 0; port < count; ++port) {
    traffic.answer(100 + (port / 1'000), port, port);
  }
  const std::vector<Observation> seen = traffic.run();
  ASSERT_EQ(seen.size(), count);
  for (std::uint16_t port = 0; port < count; ++port) {
    ASSERT_EQ(seen[port].key.near_port, port);
    ASSERT_EQ(seen[port].rtt_ns(), 100 * ns_per_ms);
  }
}

TEST(KeyNumbers, CountUpAndStay) {
  constexpr std::uint32_t count = 10'000;
  KeyNumbers numbers;
  for (int round = 0; round < 2; ++round) {
    for (std::uint32_t number = 0; number < count; ++number) {
      ASSERT_EQ(numbers.of(exchange_key(number)), number);
    }
  }
  ASSERT_EQ(numbers.size(), count);
  EXPECT_EQ(numbers.keys()[count - 1], exchange_key(count - 1));
}

std::span<const Observation> one(const Observation& observation) {
  return {&observation, 1};
}

Observation exchange(std::int64_t number, std::int64_t rtt_ns) {
  Observation observation;
  observation.key = exchange_key(number);
  observation.sequence = static_cast<std::uint32_t>(number);
  observation.sent_ns = start_ns + (number * 10'000);
  observation.answered_ns = observation.sent_ns + rtt_ns;
  observation.answer = evidence::AnswerKind::syn_ack;
  return observation;
}

TEST(ObservationStore, KeepsStallsWholeAndThinsTheRest) {
  constexpr std::int64_t count = 1'000'000;
  constexpr std::int64_t first_held = 500'000;
  constexpr std::int64_t held = 5'000;
  ObservationStore store;
  for (std::int64_t number = 0; number < count; ++number) {
    const bool stalled = number >= first_held && number < first_held + held && number % 2 == 0;
    store.take(one(exchange(number, stalled ? (first_held + held - number) * 10'000 + 200'000 : 200'000)));
  }
  const std::vector<Observation> kept = store.finish();
  EXPECT_LT(kept.size(), 50'000U);
  EXPECT_EQ(static_cast<std::int64_t>(kept.size()) + store.thinned_count(), count);
  EXPECT_EQ(store.left_out_count(), 0);
  std::int64_t late = 0;
  std::int64_t passed = 0;
  for (const Observation& observation : kept) {
    late += observation.rtt_ns() > 5'300'000 ? 1 : 0;
    const std::int64_t number = (observation.sent_ns - start_ns) / 10'000;
    passed += number >= first_held && number < first_held + held && number % 2 == 1 ? 1 : 0;
  }
  // Half of what was sent; the last 5 ms of a stall make nothing late.
  EXPECT_EQ(late, (held - 510) / 2);
  EXPECT_EQ(passed, held / 2);
}

TEST(ObservationStore, KeepsLegsOfAnExchangeTogether) {
  constexpr std::int64_t count = 500'000;
  ObservationStore store;
  for (std::int64_t number = 0; number < count; ++number) {
    Observation leg = exchange(number, 200'000);
    leg.mark = static_cast<std::uint32_t>(1 + number / 100);
    store.take(one(leg));
    leg.key.far[1] = 7;
    store.take(one(leg));
  }
  const std::vector<Observation> kept = store.finish();
  EXPECT_LT(kept.size(), 17'000U);
  EXPECT_GT(kept.size(), 4'000U);
  ASSERT_EQ(kept.size() % 2, 0U);
  for (std::size_t at = 0; at < kept.size(); at += 2) {
    ASSERT_EQ(kept[at].sequence, kept[at + 1].sequence);
  }
}

TEST(ObservationStore, StaysSmallWhereAllAreMadeToBeDrawn) {
  constexpr std::int64_t count = 500'000;
  ObservationStore store;
  for (std::int64_t number = 0; number < count; ++number) {
    // With these numbers, every draw is 0.
    Observation made = exchange(number, 200'000);
    made.key.v6 = true;
    made.sequence = 1;
    made.mark = 1U << 16U;
    store.take(one(made));
  }
  const std::vector<Observation> kept = store.finish();
  EXPECT_LT(kept.size(), 17'000U);
  EXPECT_GT(kept.size(), 0U);
  EXPECT_EQ(static_cast<std::int64_t>(kept.size()) + store.thinned_count(), count);
}

TEST(ObservationStore, KeepsAllOfAShortCapture) {
  ObservationStore store;
  for (std::int64_t number = 0; number < 100'000; ++number) {
    store.take(one(exchange(number, 200'000)));
  }
  EXPECT_EQ(store.finish().size(), 100'000U);
  EXPECT_EQ(store.thinned_count(), 0);
}

TEST(MakeEvidence, CountsFromTheFirstPacket) {
  TrackerCounts counts;
  counts.first_ns = start_ns;
  counts.last_ns = start_ns + base::ns_per_s;
  const evidence::Evidence evidence = make_evidence({exchange(0, 200'000), exchange(1, 9'000'000)}, counts, std::nullopt);
  ASSERT_EQ(evidence.probes.size(), 2U);
  EXPECT_EQ(evidence.probes[0].sent_ns + evidence.run.realtime_offset_ns, start_ns);
  EXPECT_EQ(evidence.probes[1].rtt_ns(), 9'000'000);
  EXPECT_EQ(evidence.flows.size(), 2U);
  EXPECT_FALSE(evidence.run.traced);
}

}  // namespace
}  // namespace stallscope::capture
