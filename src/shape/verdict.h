// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shape/bursts.h"
#include "shape/shape.h"

// From counts to a cause. Pure; every limit is here.
namespace stallscope::shape {

struct Decision {
  Cause cause = Cause::unknown;
  std::string why;
  std::optional<double> partition_chance;
  /// Whether the packets have the shape of a queue that stood still: released together, after silence, whole flows.
  bool queue_shape = false;
};

/// `claim_chance`: below this chance something is not taken for a coincidence. Of bursts that are none themselves.
[[nodiscard]] Decision decide(const Burst& burst, const Witness& witness, double claim_chance);

/// The chance that, of `flow_count` flows with `sent_count` packets, some `stalled_count` flows hold at least `hits` of the
/// `held_count` packets that were held, among their `stalled_sent_count`, where each packet is held or not for itself. Whichever
/// flows these are: the chance for given ones times the number of ways to choose them, times the sizes there could have been.
[[nodiscard]] double partition_chance(std::int64_t flow_count, std::int64_t stalled_count, std::int64_t sent_count,
                                      std::int64_t stalled_sent_count, std::int64_t held_count, std::int64_t hits);

/// The chance that flows which use two queues all use the same one.
[[nodiscard]] double same_queue_chance(std::int64_t flow_count);

/// Packets in no episode.
struct Scattered {
  std::int64_t late_count = 0;
  /// Of the late, those that later ones of their flow overtook.
  std::int64_t overtaken_count = 0;
  std::int64_t lost_count = 0;
};

/// From this part of late packets on that others of their flow overtook, no queue held them.
inline constexpr double overtaken_part = 0.5;

/// A queue whose stalls are too small each to tell which flows it has, and tell it together.
struct PooledQueue {
  std::vector<std::uint32_t> stalled_flows;
  std::vector<std::uint32_t> passing_flows;
  double chance = 1;
};

/// Whether it was the same flows in all the chosen episodes, which have the shape of a queue: by Fisher's method over the episodes.
/// Each is tested by itself, because how many packets were held and which flows were sending differs from one to the next.
[[nodiscard]] std::optional<PooledQueue> pool(std::span<const StallEpisode> episodes, std::span<const std::size_t> chosen,
                                              double claim_chance);

/// What the episodes say together; those of the pooled queue are receive_queue already.
[[nodiscard]] Verdict conclude(std::span<const StallEpisode> episodes, const std::optional<PooledQueue>& pooled,
                               const Scattered& scattered);

}  // namespace stallscope::shape
