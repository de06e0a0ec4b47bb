// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "shape/classify.h"
#include "shape/shape.h"
#include "shape/testing/simulate.h"

// How often the verdict is wrong, over many simulated runs: the promise of docs/design/0005-shape-statistics.md.
namespace stallscope::shape {
namespace {

using testing::Dice;
using testing::ms;
using testing::run_start_ns;
using testing::second;
using testing::Traffic;
using testing::us;

constexpr std::uint64_t runs_per_kind = 60;
/// Rates at which few and many packets share a delay.
constexpr std::array<std::int64_t, 3> rates = {200, 1'000, 4'000};

struct NoQueue {
  const char* name;
  /// Spoils a quiet run in a way that no receive queue of its own does.
  void (*spoil)(std::vector<TimedPacket>&, Dice&);
};

void delay_each(std::vector<TimedPacket>& packets, Dice& dice) {
  testing::delay(packets, [&](const TimedPacket&) { return dice.chance(0.03) ? dice.exponential(50e6) : 0; });
}

void delay_heavily(std::vector<TimedPacket>& packets, Dice& dice) {
  testing::delay(packets, [&](const TimedPacket&) { return dice.heavy(ms); });
}

void lose_some(std::vector<TimedPacket>& packets, Dice& dice) {
  bool bad = false;
  // Gilbert's model: losses come in runs.
  testing::lose(packets, [&](const TimedPacket&) {
    bad = bad ? !dice.chance(0.2) : dice.chance(0.005);
    return bad;
  });
}

void reorder(std::vector<TimedPacket>& packets, Dice& dice) {
  testing::delay(packets, [&](const TimedPacket&) { return dice.chance(0.2) ? dice.below(12 * ms) : 0; });
}

void shift_levels(std::vector<TimedPacket>& packets, Dice& dice) {
  const std::int64_t phase_ns = dice.below(second);
  testing::delay(packets,
                 [&](const TimedPacket& packet) { return (packet.sent_ns + phase_ns) / (700 * ms) % 2 == 0 ? 25 * ms : 0; });
}

void shift_some_flows(std::vector<TimedPacket>& packets, Dice& dice) {
  const std::int64_t phase_ns = dice.below(second);
  testing::delay(packets, [&](const TimedPacket& packet) {
    return packet.flow % 3 == 0 && (packet.sent_ns + phase_ns) / (900 * ms) % 3 == 0 ? 40 * ms : 0;
  });
}

void load_periodically(std::vector<TimedPacket>& packets, Dice& dice) {
  const double phase = dice.uniform();
  testing::delay(packets, [&](const TimedPacket& packet) {
    const double turns = static_cast<double>(packet.sent_ns - run_start_ns) / 300e6 + phase;
    return std::max<std::int64_t>(0, std::llround(45e6 * std::sin(2 * 3.14159265 * turns))) + dice.below(2 * ms);
  });
}

/// A place that holds single packets, whatever their flow, and lets them go together.
void trap_packets(std::vector<TimedPacket>& packets, Dice& dice) {
  testing::delay(packets, [&](const TimedPacket& packet) {
    const std::int64_t in_period_ns = (packet.sent_ns - run_start_ns) % second;
    return in_period_ns > 500 * ms && in_period_ns < 600 * ms && dice.chance(0.4) ? 600 * ms - in_period_ns : 0;
  });
}

constexpr std::array<NoQueue, 8> no_queues = {{{"delay_each", delay_each},
                                               {"delay_heavily", delay_heavily},
                                               {"lose_some", lose_some},
                                               {"reorder", reorder},
                                               {"shift_levels", shift_levels},
                                               {"shift_some_flows", shift_some_flows},
                                               {"load_periodically", load_periodically},
                                               {"trap_packets", trap_packets}}};

TEST(Property, no_receive_queue_is_claimed_where_there_is_none) {
  for (const NoQueue& kind : no_queues) {
    std::int64_t wrong_runs = 0;
    std::int64_t wrong_episodes = 0;
    for (std::uint64_t seed = 0; seed < runs_per_kind; ++seed) {
      Traffic run;
      run.packets_per_s = rates[seed % rates.size()];
      run.duration_ns = 5 * second;
      run.flow_count = 4 + static_cast<std::int64_t>(seed % 5) * 7;
      Dice dice(seed);
      std::vector<TimedPacket> packets = testing::quiet_run(run, dice);
      kind.spoil(packets, dice);
      const Analysis analysis = analyse(packets);
      const auto claims = [](const StallEpisode& episode) { return episode.cause == Cause::receive_queue; };
      wrong_episodes += std::count_if(analysis.episodes.begin(), analysis.episodes.end(), claims);
      const Cause cause = analysis.verdict.cause;
      const bool wrong = cause == Cause::receive_queue || cause == Cause::all_queues || cause == Cause::sender;
      wrong_runs += wrong ? 1 : 0;
      if (wrong) {
        ADD_FAILURE() << kind.name << " seed " << seed << ": " << cause_title(cause) << ", " << analysis.verdict.why;
      }
    }
    EXPECT_EQ(wrong_runs, 0) << kind.name;
    EXPECT_EQ(wrong_episodes, 0) << kind.name;
  }
}

/// Flows so many and so slow that each packet is alone: silence and whole flows say nothing, only how close arrivals are does.
TEST(Property, no_queue_is_seen_to_stand_still_in_coincidences) {
  std::int64_t seen = 0;
  std::int64_t pairs = 0;
  for (std::uint64_t seed = 0; seed < runs_per_kind; ++seed) {
    testing::Traffic run;
    run.flow_count = 400;
    run.packets_per_s = 1'000;
    run.duration_ns = 5 * second;
    Dice dice(seed);
    std::vector<TimedPacket> packets = testing::quiet_run(run, dice);
    testing::delay(packets, [&](const TimedPacket&) { return dice.chance(0.2) ? 10 * ms + dice.below(60 * ms) : 0; });
    const Analysis analysis = analyse(packets);
    const auto has_shape = [](const StallEpisode& episode) { return episode.coincidence_chance.has_value(); };
    seen += std::count_if(analysis.episodes.begin(), analysis.episodes.end(), has_shape);
    pairs += analysis.late_count / 10;
    EXPECT_NE(analysis.verdict.cause, Cause::receive_queue) << "seed " << seed << ": " << analysis.verdict.why;
  }
  // About a tenth of late packets arrives within 0.5 ms of another: thousands of chances to be wrong.
  EXPECT_GT(pairs, 5'000);
  EXPECT_LE(seen, 1);
}

struct Recall {
  std::int64_t packets_per_s;
  std::int64_t length_ms;
  /// Of ten runs with a stall each second (or as often as fits), how many at least name the queue.
  std::int64_t least_named;
};

class RecallTest : public ::testing::TestWithParam<Recall> {};

TEST_P(RecallTest, a_stalled_queue_is_named_and_no_other_cause) {
  constexpr std::uint64_t run_count = 10;
  const auto [packets_per_s, length_ms, least_named] = GetParam();
  std::int64_t named = 0;
  for (std::uint64_t seed = 0; seed < run_count; ++seed) {
    Traffic run;
    run.packets_per_s = packets_per_s;
    run.duration_ns = packets_per_s >= 10'000 ? 8 * second : 20 * second;
    Dice dice(seed);
    std::vector<TimedPacket> packets = testing::quiet_run(run, dice);
    // A queue that some flows use and others do not.
    const std::int64_t queue = testing::queue_of(0, run.queue_count, seed);
    for (std::int64_t at_ms = 500; (at_ms + length_ms) * ms < run.duration_ns;
         at_ms += std::max<std::int64_t>(1'000, 2 * length_ms) + dice.below(100)) {
      testing::hold(packets, run, {queue, run_start_ns + at_ms * ms + dice.below(ms), length_ms * ms}, seed, dice);
    }
    const Analysis analysis = analyse(packets);
    const Cause cause = analysis.verdict.cause;
    named += cause == Cause::receive_queue ? 1 : 0;
    EXPECT_TRUE(cause == Cause::receive_queue || cause == Cause::unknown || cause == Cause::nothing)
        << "seed " << seed << ": " << cause_title(cause) << ", " << analysis.verdict.why;
    for (const std::uint32_t flow : analysis.verdict.stalled_flows) {
      EXPECT_EQ(testing::queue_of(flow, run.queue_count, seed), queue) << "flow " << flow << " uses another queue";
    }
  }
  EXPECT_GE(named, least_named);
}

// A stall that holds fewer than two packets has no shape: 10 ms at 100 packets a second over 16 flows cannot be told, and is not.
INSTANTIATE_TEST_SUITE_P(Property, RecallTest,
                         ::testing::Values(Recall{100, 10, 0}, Recall{100, 100, 4}, Recall{100, 300, 10}, Recall{100, 1'000, 10},
                                           Recall{100, 3'000, 10}, Recall{1'000, 10, 0}, Recall{1'000, 30, 10},
                                           Recall{1'000, 100, 10}, Recall{1'000, 1'000, 10}, Recall{1'000, 3'000, 10},
                                           Recall{10'000, 10, 10}, Recall{10'000, 100, 10}, Recall{10'000, 3'000, 10}),
                         [](const auto& parameter) {
                           return std::to_string(parameter.param.packets_per_s) + "_per_s_" +
                                  std::to_string(parameter.param.length_ms) + "_ms";
                         });

TEST(Property, any_numbers_are_safe_and_every_packet_is_counted_once) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Dice dice(seed);
    Traffic run;
    run.duration_ns = 2 * second;
    std::vector<TimedPacket> packets = testing::quiet_run(run, dice);
    testing::hold(packets, run, {dice.below(5) - 1, run_start_ns + dice.below(second), dice.below(second)}, seed, dice);
    const auto anything = [&] {
      return static_cast<std::int64_t>(dice.below(std::numeric_limits<std::int64_t>::max())) * (dice.chance(0.5) ? 1 : -1);
    };
    for (TimedPacket& packet : packets) {
      if (dice.chance(0.02)) {
        packet.answered_ns = dice.chance(0.5) ? TimedPacket::not_answered : anything();
      }
      packet.sent_ns = dice.chance(0.005) ? anything() : packet.sent_ns;
      packet.intended_ns = dice.chance(0.005) ? anything() : packet.intended_ns;
      packet.sequence = dice.chance(0.005) ? anything() : packet.sequence;
      packet.flow = dice.chance(0.005) ? static_cast<std::uint32_t>(dice.chance(0.9) ? dice.below(500) : max_flows) : packet.flow;
    }
    const Analysis analysis = analyse(packets, {.end_ns = dice.chance(0.5) ? anything() : 0});
    EXPECT_EQ(analysis.packet_count + analysis.unusable_count, static_cast<std::int64_t>(packets.size()));
    const auto& counts = analysis.verdict.packet_counts;
    EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}),
              analysis.late_count + analysis.own_late_count + analysis.lost_count);
    for (const StallEpisode& episode : analysis.episodes) {
      EXPECT_LE(episode.earliest_start_ns, episode.latest_start_ns);
      EXPECT_LE(episode.shortest_ns, episode.longest_ns);
      EXPECT_LE(episode.release_ns, episode.drained_ns);
      EXPECT_FALSE(episode.why.empty());
      EXPECT_TRUE(std::is_sorted(episode.stalled_flows.begin(), episode.stalled_flows.end(),
                                 [](const FlowPart& a, const FlowPart& b) { return a.flow < b.flow; }));
    }
  }
}

}  // namespace
}  // namespace stallscope::shape
