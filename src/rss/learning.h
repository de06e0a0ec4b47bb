// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// Which flows share a receive queue, learned from what is seen, and whether a prediction may be relied on. Formulas and where they
// come from: docs/design/0005-shape-statistics.md.
namespace stallscope::rss {

/// A packet of a flow was seen at a place: a CPU or a receive queue of the host that received it.
struct Sighting {
  std::uint32_t flow = 0;
  std::int32_t place = 0;
};

/// The place of each flow whose packets are nearly all seen at one; flows seen too rarely or all over are left out.
[[nodiscard]] std::map<std::uint32_t, std::int32_t> learn_places(std::span<const Sighting> sightings);

/// Flows that stalled together and flows that sent meanwhile and did not.
struct StallSeen {
  std::vector<std::uint32_t> stalled;
  std::vector<std::uint32_t> passing;
};

struct QueueGroup {
  /// In order of number.
  std::vector<std::uint32_t> flows;
  std::int64_t stall_count = 0;
};

struct LearnedQueues {
  /// Flows that stall with one another and not without: they share a queue. With most stalls first.
  std::vector<QueueGroup> groups;
  /// Flows that were seen to pass and never to stall.
  std::vector<std::uint32_t> never_stalled;
  /// Flows that stalled, but too rarely or with changing others.
  std::vector<std::uint32_t> unclear;
};

/// Works without any key: flows of one queue stall in the same stalls. A flow belongs to a group from two stalls on.
[[nodiscard]] LearnedQueues learn_queues(std::span<const StallSeen> stalls);

/// A flow's predicted queue and the place (or group) it was found at.
struct Comparison {
  std::uint32_t predicted_queue = 0;
  std::int32_t observed_place = 0;
};

enum class Agreement : std::uint8_t {
  /// Too little was seen, or all in one place: neither shown right nor wrong.
  undecided,
  confirmed,
  /// Do not name a queue.
  refuted,
};
/// "undecided", "confirmed", "refuted": as JSON names it.
[[nodiscard]] std::string_view agreement_id(Agreement agreement);

struct PredictionCheck {
  Agreement agreement = Agreement::undecided;
  /// A clause without a full stop.
  std::string why;
  std::int64_t compared_count = 0;
  /// Flows found where most flows of the same predicted queue are.
  std::int64_t agreeing_count = 0;
  /// The chance that as many agree where the prediction has nothing to do with the places.
  double chance = 1;
  /// Where each predicted queue was found, for the majority of its flows.
  std::map<std::uint32_t, std::int32_t> place_of_queue;
};

/// Several queues may be at one place (interrupts of two queues on one CPU), but the flows of a queue are all at one place. The
/// chance is that of a permutation test, with a fixed series of random numbers: the same input has the same result.
[[nodiscard]] PredictionCheck check_prediction(std::span<const Comparison> comparisons, double claim_chance = 0.001);

}  // namespace stallscope::rss
