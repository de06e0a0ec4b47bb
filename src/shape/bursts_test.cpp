// SPDX-License-Identifier: Apache-2.0
#include "shape/bursts.h"

#include <gtest/gtest.h>

#include "shape/testing/simulate.h"

namespace stallscope::shape {
namespace {

using testing::Dice;
using testing::ms;
using testing::run_start_ns;
using testing::second;
using testing::Traffic;

TEST(Classify, counts_what_became_of_packets_and_ignores_impossible_times) {
  Dice dice(1);
  std::vector<TimedPacket> packets = testing::quiet_run({}, dice);
  packets[10].answered_ns = packets[10].sent_ns - 1;
  packets[11].flow = max_flows;
  packets[12].sent_ns = -5;
  packets[13].answered_ns = TimedPacket::not_answered;
  packets.back().answered_ns = TimedPacket::not_answered;
  const Classified classified = classify(packets, 0);
  EXPECT_EQ(classified.unusable_count, 3);
  EXPECT_EQ(classified.fates[11], Fate::unusable);
  EXPECT_EQ(classified.fates[13], Fate::lost);
  EXPECT_EQ(classified.fates.back(), Fate::undecided);
  EXPECT_EQ(classified.answered_count, static_cast<std::int64_t>(packets.size()) - 5);
}

TEST(Classify, gives_each_flow_its_own_baseline_and_rare_ones_that_of_all) {
  Dice dice(1);
  Traffic run;
  run.flow_count = 4;
  std::vector<TimedPacket> packets = testing::quiet_run(run, dice);
  testing::delay(packets, [](const TimedPacket& packet) { return packet.flow == 2 ? 40 * ms : 0; });
  packets.push_back(packets.front());
  packets.back().flow = 9;
  const Classified classified = classify(packets, 0);
  EXPECT_EQ(classified.late_count, 0);
  EXPECT_GT(classified.baselines[2].rtt_ns, 40 * ms);
  EXPECT_LT(classified.baselines[9].rtt_ns, ms);
}

TEST(Bursts, count_what_was_sent_together_once) {
  // Four flows that send at the same moments, each held by the same delay: arriving together proves nothing.
  std::vector<TimedPacket> packets;
  for (std::int64_t tick = 0; tick < 500; ++tick) {
    for (std::uint32_t flow = 0; flow < 4; ++flow) {
      const std::int64_t sent_ns = run_start_ns + tick * 10 * ms;
      const std::int64_t rtt_ns = tick % 100 == 50 ? 60 * ms : ms;
      packets.push_back({flow, tick, sent_ns, sent_ns, sent_ns + rtt_ns});
    }
  }
  const Classified classified = classify(packets, 0);
  const Bursts bursts = find_bursts(packets, classified);
  EXPECT_EQ(bursts.late.size(), 20U);
  EXPECT_TRUE(bursts.bursts.empty());
  EXPECT_EQ(bursts.epoch_count, 5);
}

TEST(Bursts, are_unlikely_in_proportion_to_how_close_they_are) {
  Classified classified;
  classified.end_ns = 10 * second;
  Bursts all;
  all.epoch_count = 100;
  Burst burst;
  burst.epoch_count = 2;
  burst.last_arrival_ns = ms;
  // Ten per second: one more within a millisecond has a chance of 1 %.
  EXPECT_NEAR(coincidence_chance(burst, all, classified), 0.01, 2e-4);
  burst.epoch_count = 3;
  EXPECT_NEAR(coincidence_chance(burst, all, classified), 5e-5, 1e-6);
}

TEST(Overtaken, is_what_a_later_packet_of_the_same_flow_left_behind) {
  std::vector<TimedPacket> packets;
  for (std::int64_t tick = 0; tick < 100; ++tick) {
    const std::int64_t sent_ns = run_start_ns + tick * 10 * ms;
    packets.push_back({static_cast<std::uint32_t>(tick % 2), tick / 2, sent_ns, sent_ns, sent_ns + ms});
  }
  packets[20].answered_ns += 50 * ms;
  packets[98].answered_ns += 50 * ms;
  const std::vector<bool> overtaken = find_overtaken(packets, classify(packets, 0));
  EXPECT_TRUE(overtaken[20]);
  // Nothing of its flow was sent after it.
  EXPECT_FALSE(overtaken[98]);
  EXPECT_FALSE(overtaken[21]);
}

}  // namespace
}  // namespace stallscope::shape
