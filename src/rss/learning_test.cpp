// SPDX-License-Identifier: Apache-2.0
#include "rss/learning.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "rss/testing.h"

namespace stallscope::rss {
namespace {

using Flows = std::vector<std::uint32_t>;

TEST(LearnPlaces, takes_where_nearly_all_packets_of_a_flow_were_seen) {
  std::vector<Sighting> sightings;
  for (int count = 0; count < 20; ++count) {
    sightings.push_back({1, 0});
    sightings.push_back({2, count == 0 ? 0 : 1});
    sightings.push_back({3, count % 2});
  }
  sightings.push_back({4, 1});
  const std::map<std::uint32_t, std::int32_t> places = learn_places(sightings);
  EXPECT_EQ(places, (std::map<std::uint32_t, std::int32_t>{{1, 0}, {2, 1}}));
}

TEST(LearnQueues, puts_flows_together_that_stall_together) {
  const StallSeen first{{1, 2, 3}, {4, 5, 6, 7}};
  const StallSeen second{{4, 5}, {1, 2, 3, 6, 7}};
  // One flow sent nothing during this one.
  const StallSeen third{{1, 3}, {4, 5, 6, 7}};
  const std::vector<StallSeen> stalls = {first, second, third, first, second};
  const LearnedQueues learned = learn_queues(stalls);
  ASSERT_EQ(learned.groups.size(), 2U);
  EXPECT_EQ(learned.groups[0].flows, (Flows{1, 2, 3}));
  EXPECT_EQ(learned.groups[0].stall_count, 3);
  EXPECT_EQ(learned.groups[1].flows, (Flows{4, 5}));
  EXPECT_EQ(learned.never_stalled, (Flows{6, 7}));
  EXPECT_TRUE(learned.unclear.empty());
}

TEST(LearnQueues, leaves_open_what_stalled_once_or_not_always) {
  const std::vector<StallSeen> stalls = {{{1, 2, 9}, {3}}, {{1, 2}, {3, 9}}, {{1, 2, 9}, {3}}, {{5, 6}, {1, 2, 3}}};
  const LearnedQueues learned = learn_queues(stalls);
  ASSERT_EQ(learned.groups.size(), 1U);
  EXPECT_EQ(learned.groups[0].flows, (Flows{1, 2}));
  EXPECT_EQ(learned.unclear, (Flows{5, 6, 9}));
  EXPECT_EQ(learned.never_stalled, (Flows{3}));
  EXPECT_TRUE(learn_queues({}).groups.empty());
}

TEST(LearnQueues, finds_the_queues_of_a_hash_that_nobody_knows) {
  const QueueMap secret = *QueueMap::make(device_with(4));
  std::mt19937 random(1);
  std::vector<StallSeen> stalls;
  for (int count = 0; count < 24; ++count) {
    StallSeen stall;
    for (std::uint32_t port = 40'000; port < 40'032; ++port) {
      const Flow flow = tcp_flow("10.0.1.1", static_cast<std::uint16_t>(port), "10.0.1.2", 80);
      // A third of the flows has no packet under way.
      if (random() % 3 != 0) {
        (*secret.queue_of(flow) == static_cast<std::uint32_t>(count % 4) ? stall.stalled : stall.passing).push_back(port);
      }
    }
    stalls.push_back(stall);
  }
  const LearnedQueues learned = learn_queues(stalls);
  EXPECT_EQ(learned.groups.size(), 4U);
  std::size_t known = 0;
  for (const QueueGroup& group : learned.groups) {
    std::set<std::uint32_t> queues;
    for (const std::uint32_t port : group.flows) {
      queues.insert(*secret.queue_of(tcp_flow("10.0.1.1", static_cast<std::uint16_t>(port), "10.0.1.2", 80)));
    }
    EXPECT_EQ(queues.size(), 1U);
    known += group.flows.size();
  }
  EXPECT_GE(known, 30U);
}

std::vector<Comparison> compare(std::uint32_t queues, std::int32_t count, bool related) {
  std::mt19937 random(3);
  std::vector<Comparison> comparisons;
  for (std::int32_t index = 0; index < count; ++index) {
    const auto queue = static_cast<std::uint32_t>(random() % queues);
    // Queues 0 and 1 interrupt CPU 0, 2 and 3 CPU 1.
    comparisons.push_back({queue, static_cast<std::int32_t>(related ? queue / 2 : random() % 2)});
  }
  return comparisons;
}

TEST(CheckPrediction, confirms_one_that_holds_and_says_where_queues_are) {
  const PredictionCheck check = check_prediction(compare(4, 24, true));
  EXPECT_EQ(check.agreement, Agreement::confirmed) << check.why;
  EXPECT_EQ(check.agreeing_count, 24);
  EXPECT_EQ(check.place_of_queue, (std::map<std::uint32_t, std::int32_t>{{0, 0}, {1, 0}, {2, 1}, {3, 1}}));
  EXPECT_EQ(check_prediction(compare(4, 24, true)).chance, check.chance);
}

TEST(CheckPrediction, refutes_one_that_has_nothing_to_do_with_what_is_seen) {
  EXPECT_EQ(check_prediction(compare(4, 32, false)).agreement, Agreement::refuted);
}

TEST(CheckPrediction, does_not_decide_by_little_or_by_one_place) {
  EXPECT_EQ(check_prediction(compare(4, 4, true)).agreement, Agreement::undecided);
  EXPECT_EQ(check_prediction({}).agreement, Agreement::undecided);
  std::vector<Comparison> one_place = compare(4, 24, true);
  for (Comparison& comparison : one_place) {
    comparison.observed_place = 0;
  }
  EXPECT_EQ(check_prediction(one_place).why, "all flows are at one place, so nothing can be compared");
}

TEST(CheckPrediction, forgives_a_single_flow_that_a_filter_steers) {
  std::vector<Comparison> comparisons = compare(4, 60, true);
  comparisons[7].observed_place = 1 - comparisons[7].observed_place;
  EXPECT_EQ(check_prediction(comparisons).agreement, Agreement::confirmed);
}

}  // namespace
}  // namespace stallscope::rss
