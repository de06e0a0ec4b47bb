// SPDX-License-Identifier: Apache-2.0
#include "shape/verdict.h"

#include <gtest/gtest.h>

#include "shape/testing/simulate.h"

namespace stallscope::shape {
namespace {

using testing::ms;

Burst burst_of(std::int64_t count) {
  Burst burst;
  burst.last = static_cast<std::size_t>(count);
  burst.epoch_count = count;
  burst.first_arrival_ns = burst.last_arrival_ns = 100 * ms;
  burst.last_sent_ns = 90 * ms;
  burst.fit = SlopeFit{-1, 0.001};
  burst.release = Release::together;
  return burst;
}

/// `stalled` flows that were held and `passing` that were not, with `each` packets.
Witness witness_of(std::uint32_t stalled, std::uint32_t passing, std::int64_t each) {
  Witness witness;
  for (std::uint32_t flow = 0; flow < stalled + passing; ++flow) {
    const bool held = flow < stalled;
    (held ? witness.stalled : witness.passing).push_back({flow, held ? each : 0, held ? 0 : each, 0, 0});
  }
  witness.held_count = witness.stalled_sent_count = stalled * each;
  witness.passed_count = passing * each;
  witness.all_sent_count = (stalled + passing) * each;
  witness.flow_count = stalled + passing;
  return witness;
}

TEST(PartitionChance, is_fishers_test_times_the_choices) {
  // 2 of 4 flows with 3 packets each hold all 6 of 12: 1 / C(12, 6) for given flows, C(4, 2) sets of them, 4 sizes.
  EXPECT_NEAR(partition_chance(4, 2, 12, 6, 6, 6), 6.0 * 4 / 924, 1e-9);
  // One packet each tells nothing about which flows.
  EXPECT_EQ(partition_chance(16, 8, 16, 8, 8, 8), 1.0);
}

TEST(SameQueueChance, is_that_of_coins_falling_alike) {
  EXPECT_EQ(same_queue_chance(1), 1.0);
  EXPECT_EQ(same_queue_chance(2), 0.5);
  EXPECT_EQ(same_queue_chance(6), 1.0 / 32);
}

TEST(Decide, claims_a_queue_where_flows_stall_as_a_whole) {
  const Decision decision = decide(burst_of(20), witness_of(4, 12, 5), 0.001);
  EXPECT_EQ(decision.cause, Cause::receive_queue);
  EXPECT_EQ(decision.why, "4 flows stalled as a whole while 60 packets of 12 other flows passed (p < 1e-12)");
}

TEST(Decide, leaves_open_which_flows_where_each_has_one_packet) {
  const Decision decision = decide(burst_of(8), witness_of(8, 8, 1), 0.001);
  EXPECT_EQ(decision.cause, Cause::unknown);
  EXPECT_TRUE(decision.queue_shape);
}

TEST(Decide, takes_many_flows_for_all_queues_and_few_for_perhaps_one) {
  EXPECT_EQ(decide(burst_of(30), witness_of(6, 0, 5), 0.001).cause, Cause::all_queues);
  EXPECT_EQ(decide(burst_of(15), witness_of(3, 0, 5), 0.001).cause, Cause::unknown);
  EXPECT_EQ(decide(burst_of(5), witness_of(1, 0, 5), 0.001).why, "one queue stood still, but only one flow was sending");
}

TEST(Decide, wants_silence_whole_flows_and_a_sender_on_time) {
  Witness noisy = witness_of(4, 12, 5);
  noisy.noise_count = 3;
  EXPECT_FALSE(decide(burst_of(20), noisy, 0.001).queue_shape);
  Witness parts = witness_of(4, 12, 5);
  EXPECT_FALSE(decide(burst_of(30), parts, 0.001).queue_shape);
  Witness own = witness_of(16, 0, 5);
  own.own_late_ns = 60 * ms;
  EXPECT_EQ(decide(burst_of(80), own, 0.001).cause, Cause::sender);
}

StallEpisode small_episode(std::uint32_t first_stalled) {
  StallEpisode episode;
  episode.held_count = 2;
  for (std::uint32_t flow = 0; flow < 8; ++flow) {
    const bool held = flow / 2 == first_stalled / 2;
    (held ? episode.stalled_flows : episode.passing_flows).push_back({flow, held ? 1 : 0, held ? 0 : 1, 0, 0});
  }
  return episode;
}

TEST(Pool, takes_small_stalls_together_that_hold_the_same_flows_and_no_others) {
  std::vector<StallEpisode> same;
  std::vector<StallEpisode> changing;
  std::vector<std::size_t> all;
  for (std::uint32_t index = 0; index < 12; ++index) {
    same.push_back(small_episode(2));
    changing.push_back(small_episode(index % 4 * 2));
    all.push_back(index);
  }
  const std::optional<PooledQueue> queue = pool(same, all, 0.001);
  ASSERT_TRUE(queue);
  EXPECT_EQ(queue->stalled_flows, (std::vector<std::uint32_t>{2, 3}));
  EXPECT_EQ(queue->passing_flows.size(), 6U);
  EXPECT_FALSE(pool(changing, all, 0.001));
  EXPECT_FALSE(pool(same, {}, 0.001));
}

TEST(Conclude, counts_a_pooled_queue_once_though_its_stalls_held_different_flows_of_it) {
  std::vector<StallEpisode> episodes(2);
  for (std::uint32_t index = 0; index < 2; ++index) {
    episodes[index].cause = Cause::receive_queue;
    episodes[index].held_count = 1;
    episodes[index].stalled_flows.push_back({index, 1, 0, 0, 0});
    episodes[index].passing_flows.push_back({7, 0, 1, 0, 0});
  }
  EXPECT_EQ(conclude(episodes, std::nullopt, {}).queue_count, 2);
  const Verdict verdict = conclude(episodes, PooledQueue{{0, 1}, {7}, 1e-9}, {});
  EXPECT_EQ(verdict.queue_count, 1);
  EXPECT_EQ(verdict.why, "in 2 stalls, 2 of 3 flows stalled as a whole while the others passed (p = 1e-09)");
}

TEST(Conclude, names_no_cause_that_has_less_than_two_thirds) {
  std::vector<StallEpisode> episodes(2);
  episodes[0].cause = Cause::all_queues;
  episodes[0].held_count = 10;
  episodes[1].cause = Cause::loss;
  episodes[1].lost_count = 10;
  const Verdict verdict = conclude(episodes, std::nullopt, {});
  EXPECT_EQ(verdict.cause, Cause::unknown);
  EXPECT_EQ(verdict.why, "several causes have a part: all queues 10, loss 10 packets");
  EXPECT_EQ(conclude({}, std::nullopt, {}).cause, Cause::nothing);
}

}  // namespace
}  // namespace stallscope::shape
