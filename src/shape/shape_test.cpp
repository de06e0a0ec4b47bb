// SPDX-License-Identifier: Apache-2.0
#include "shape/shape.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "shape/testing/simulate.h"

namespace stallscope::shape {
namespace {

using testing::Dice;
using testing::ms;
using testing::run_start_ns;
using testing::second;
using testing::Traffic;
using testing::us;

constexpr std::uint64_t hash_seed = 7;

std::vector<TimedPacket> quiet(const Traffic& run = {}) {
  Dice dice(1);
  return testing::quiet_run(run, dice);
}

void hold(std::vector<TimedPacket>& packets, std::int64_t queue, std::int64_t start_ns, std::int64_t length_ns) {
  Dice dice(2);
  testing::hold(packets, {}, {queue, run_start_ns + start_ns, length_ns}, hash_seed, dice);
}

TEST(Shape, of_a_quiet_run_is_nothing) {
  const Analysis analysis = analyse(quiet());
  EXPECT_EQ(analysis.verdict.cause, Cause::nothing);
  EXPECT_TRUE(analysis.episodes.empty());
  EXPECT_EQ(analysis.packet_count, 10'000);
  EXPECT_EQ(analysis.flow_count, 16);
  EXPECT_EQ(analyse({}).verdict.why, "no packet can be used");
}

TEST(Shape, of_one_stalled_queue_names_its_flows_and_its_length) {
  std::vector<TimedPacket> packets = quiet();
  hold(packets, 0, 2 * second, 100 * ms);
  const Analysis analysis = analyse(packets);
  ASSERT_EQ(analysis.episodes.size(), 1U);
  const StallEpisode& episode = analysis.episodes.front();
  EXPECT_EQ(episode.cause, Cause::receive_queue) << episode.why;
  EXPECT_EQ(episode.release, Release::together);
  ASSERT_TRUE(episode.slope_95);
  EXPECT_NEAR(episode.fit->slope, -1.0, 0.01);
  // The bounds enclose the truth, and are as far apart as packets of these flows are.
  EXPECT_LE(episode.shortest_ns, 100 * ms + us * 200);
  EXPECT_GE(episode.longest_ns, 100 * ms);
  EXPECT_LT(episode.longest_ns - episode.shortest_ns, 10 * ms);
  EXPECT_LE(episode.earliest_start_ns, run_start_ns + 2 * second);
  for (std::uint32_t flow = 0; flow < 16; ++flow) {
    const auto is_it = [&](const FlowPart& part) { return part.flow == flow; };
    const bool stalled = testing::queue_of(flow, 4, hash_seed) == 0;
    EXPECT_EQ(std::any_of(episode.stalled_flows.begin(), episode.stalled_flows.end(), is_it), stalled) << flow;
    EXPECT_EQ(std::any_of(episode.passing_flows.begin(), episode.passing_flows.end(), is_it), !stalled) << flow;
  }
  EXPECT_EQ(analysis.verdict.cause, Cause::receive_queue);
  EXPECT_EQ(analysis.verdict.queue_count, 1);
}

TEST(Shape, does_not_depend_on_the_order_of_the_input) {
  std::vector<TimedPacket> packets = quiet();
  hold(packets, 0, 2 * second, 100 * ms);
  const Analysis sorted = analyse(packets);
  std::reverse(packets.begin(), packets.end());
  const Analysis reversed = analyse(packets);
  ASSERT_EQ(reversed.episodes.size(), sorted.episodes.size());
  EXPECT_EQ(reversed.episodes.front().stalled_flows, sorted.episodes.front().stalled_flows);
  EXPECT_EQ(reversed.verdict.why, sorted.verdict.why);
}

TEST(Shape, keeps_two_queues_apart_that_stall_at_overlapping_times) {
  std::vector<TimedPacket> packets = quiet();
  hold(packets, 0, 2 * second, 100 * ms);
  hold(packets, 1, 2 * second + 50 * ms, 100 * ms);
  const Analysis analysis = analyse(packets);
  ASSERT_EQ(analysis.episodes.size(), 2U);
  EXPECT_EQ(analysis.episodes[0].cause, Cause::receive_queue) << analysis.episodes[0].why;
  EXPECT_EQ(analysis.episodes[1].cause, Cause::receive_queue) << analysis.episodes[1].why;
  EXPECT_EQ(analysis.verdict.queue_count, 2);
}

TEST(Shape, of_all_flows_at_once_is_all_queues) {
  std::vector<TimedPacket> packets = quiet();
  hold(packets, -1, 2 * second, 100 * ms);
  const Analysis analysis = analyse(packets);
  ASSERT_EQ(analysis.episodes.size(), 1U);
  EXPECT_EQ(analysis.verdict.cause, Cause::all_queues) << analysis.verdict.why;
  EXPECT_TRUE(analysis.episodes[0].passing_flows.empty());
}

TEST(Shape, of_one_flow_cannot_tell_queues_apart) {
  Traffic run;
  run.flow_count = 1;
  Dice dice(1);
  std::vector<TimedPacket> packets = testing::quiet_run(run, dice);
  testing::hold(packets, run, {-1, run_start_ns + second, 100 * ms}, 0, dice);
  const Analysis analysis = analyse(packets);
  ASSERT_EQ(analysis.episodes.size(), 1U);
  EXPECT_EQ(analysis.episodes[0].release, Release::together);
  EXPECT_EQ(analysis.verdict.cause, Cause::unknown);
  EXPECT_EQ(analysis.verdict.why, "one queue stood still, but only one flow was sending");
}

TEST(Shape, of_a_sender_that_did_not_run_is_the_sender) {
  std::vector<TimedPacket> packets = quiet();
  testing::delay_sender(packets, run_start_ns + 2 * second, 100 * ms);
  const Analysis analysis = analyse(packets);
  EXPECT_EQ(analysis.verdict.cause, Cause::sender) << analysis.verdict.why;
  EXPECT_EQ(analysis.late_count, 0);
}

TEST(Shape, of_a_prober_that_neither_sent_nor_received_is_the_sender) {
  std::vector<TimedPacket> packets = quiet();
  testing::delay_sender(packets, run_start_ns + 2 * second, 100 * ms);
  // Receive times taken in user space: what had been sent just before is read when the prober runs again.
  for (TimedPacket& packet : packets) {
    if (packet.sent_ns >= run_start_ns + 2 * second - 20 * ms && packet.sent_ns < run_start_ns + 2 * second) {
      packet.answered_ns = run_start_ns + 2 * second + 100 * ms + packet.flow * us;
    }
  }
  const Analysis analysis = analyse(packets);
  EXPECT_EQ(analysis.verdict.cause, Cause::sender) << analysis.verdict.why;
}

TEST(Shape, of_a_gap_is_loss_and_of_one_queues_gap_too) {
  std::vector<TimedPacket> packets = quiet();
  testing::lose(packets, [](const TimedPacket& packet) {
    const std::int64_t since_ns = packet.sent_ns - run_start_ns;
    return (since_ns > 2 * second && since_ns < 2 * second + 80 * ms) ||
           (packet.flow < 4 && since_ns > 5 * second && since_ns < 5 * second + 200 * ms);
  });
  const Analysis analysis = analyse(packets);
  ASSERT_EQ(analysis.episodes.size(), 2U);
  EXPECT_EQ(analysis.verdict.cause, Cause::loss);
  EXPECT_EQ(analysis.episodes[0].why, "80 packets in a row are missing and none came late");
  EXPECT_EQ(analysis.episodes[1].stalled_flows.size(), 4U);
}

TEST(Shape, of_a_queue_that_overflowed_counts_what_it_lost) {
  std::vector<TimedPacket> packets = quiet();
  hold(packets, 0, 2 * second, 100 * ms);
  testing::lose(packets, [](const TimedPacket& packet) {
    const std::int64_t since_ns = packet.sent_ns - run_start_ns - 2 * second;
    return testing::queue_of(packet.flow, 4, hash_seed) == 0 && since_ns > 60 * ms && since_ns < 90 * ms;
  });
  const Analysis analysis = analyse(packets);
  ASSERT_EQ(analysis.episodes.size(), 1U);
  EXPECT_EQ(analysis.verdict.cause, Cause::receive_queue) << analysis.verdict.why;
  EXPECT_GT(analysis.episodes[0].lost_count, 5);
  EXPECT_EQ(analysis.scattered_lost_count, 0);
}

TEST(Shape, of_a_longer_path_is_the_path) {
  std::vector<TimedPacket> packets = quiet();
  testing::delay(packets, [](const TimedPacket& packet) {
    const std::int64_t since_ns = packet.sent_ns - run_start_ns;
    return since_ns > 2 * second && since_ns < 4 * second ? 30 * ms : 0;
  });
  const Analysis analysis = analyse(packets);
  EXPECT_EQ(analysis.verdict.cause, Cause::path) << analysis.verdict.why;
  ASSERT_EQ(analysis.episodes.size(), 1U);
  EXPECT_EQ(analysis.episodes[0].release, Release::apart);
}

TEST(Shape, of_packets_late_one_by_one_is_the_path) {
  std::vector<TimedPacket> packets = quiet();
  Dice dice(3);
  testing::delay(packets, [&](const TimedPacket&) { return dice.chance(0.03) ? dice.exponential(50e6) : 0; });
  EXPECT_EQ(analyse(packets).verdict.cause, Cause::path) << analyse(packets).verdict.why;
}

TEST(Shape, counts_packets_that_arrived_out_of_order) {
  std::vector<TimedPacket> packets = quiet();
  hold(packets, 0, 2 * second, 100 * ms);
  Analysis analysis = analyse(packets);
  ASSERT_EQ(analysis.episodes.size(), 1U);
  EXPECT_EQ(analysis.episodes[0].reordered_count, 0);
  // The first and the last that were held change places.
  const std::uint32_t flow = analysis.episodes[0].stalled_flows[0].flow;
  TimedPacket* first = nullptr;
  TimedPacket* last = nullptr;
  for (TimedPacket& packet : packets) {
    if (packet.flow == flow && packet.rtt_ns() > 10 * ms) {
      first = first == nullptr ? &packet : first;
      last = &packet;
    }
  }
  std::swap(first->answered_ns, last->answered_ns);
  analysis = analyse(packets);
  ASSERT_EQ(analysis.episodes.size(), 1U);
  EXPECT_GT(analysis.episodes[0].stalled_flows[0].reordered_count, 0);
}

TEST(Shape, keeps_the_largest_episodes_of_too_many) {
  std::vector<TimedPacket> packets = quiet();
  for (std::int64_t index = 0; index < 9; ++index) {
    hold(packets, 0, index * second + 300 * ms, index == 4 ? 200 * ms : 100 * ms);
  }
  Options options;
  options.max_episodes = 1;
  const Analysis analysis = analyse(packets, options);
  ASSERT_EQ(analysis.episodes.size(), 1U);
  EXPECT_GT(analysis.episodes[0].longest_ns, 200 * ms);
  EXPECT_EQ(analysis.left_out_count, 8);
  EXPECT_EQ(analysis.verdict.cause, Cause::receive_queue);
}

}  // namespace
}  // namespace stallscope::shape
