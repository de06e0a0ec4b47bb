// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shape/packets.h"
#include "shape/release.h"
#include "shape/statistics.h"

// What late packets of many flows say about where they waited, from their times alone. Why these statistics:
// docs/design/0005-shape-statistics.md.
namespace stallscope::shape {

enum class Cause : std::uint8_t {
  /// Nothing was late or lost. Of a whole run only.
  nothing,
  /// Some flows stalled as a whole, others that sent in the same time did not.
  receive_queue,
  /// Every flow with traffic stalled at once.
  all_queues,
  /// The sender's own lateness explains it.
  sender,
  /// Packets are missing, none came late.
  loss,
  /// Delays that no queue made which stood still: a level shift, or packets late one by one.
  path,
  /// Cannot tell; the reason is given.
  unknown,
};
inline constexpr std::array<Cause, 7> all_causes = {Cause::nothing, Cause::receive_queue, Cause::all_queues, Cause::sender,
                                                    Cause::loss,    Cause::path,          Cause::unknown};
/// "one receive queue", "all queues", ...: as a report prints it.
[[nodiscard]] std::string_view cause_title(Cause cause);
/// "receive_queue", "all_queues", ...: as JSON names it.
[[nodiscard]] std::string_view cause_id(Cause cause);

/// What a flow had in an episode.
struct FlowPart {
  std::uint32_t flow = 0;
  std::int64_t held_count = 0;
  /// Sent in the same time and answered promptly.
  std::int64_t passed_count = 0;
  std::int64_t lost_count = 0;
  /// Held packets that arrived after one of a higher sequence (RFC 4737, type-P-reordered).
  std::int64_t reordered_count = 0;

  friend bool operator==(const FlowPart&, const FlowPart&) = default;
};

/// A run of packets that arrived together after silence, or that were lost, or late in another way.
struct StallEpisode {
  Cause cause = Cause::unknown;
  /// What decided, or what is missing; a clause without a full stop.
  std::string why;
  /// It began between these: when the last packet of the stalled flows that passed was sent, and the first that did not could have
  /// arrived.
  std::int64_t earliest_start_ns = 0;
  std::int64_t latest_start_ns = 0;
  /// First and last arrival of what was held. Of lost packets, when the last was sent.
  std::int64_t release_ns = 0;
  std::int64_t drained_ns = 0;
  /// The stall's length lies between these.
  std::int64_t shortest_ns = 0;
  std::int64_t longest_ns = 0;
  std::int64_t held_count = 0;
  std::int64_t lost_count = 0;
  std::int64_t reordered_count = 0;
  /// RTT against send time, with its 95 % confidence interval.
  std::optional<SlopeFit> fit;
  std::optional<Interval> slope_95;
  Release release = Release::unknown;
  /// Flows with packets that were held (or, of a loss, lost), in order of number.
  std::vector<FlowPart> stalled_flows;
  /// Flows that sent meanwhile and were not held, in order of number, and how many packets of theirs passed.
  std::vector<FlowPart> passing_flows;
  std::int64_t passed_count = 0;
  /// The chance that a late packet is followed by as many others, as close, by coincidence.
  std::optional<double> coincidence_chance;
  /// The chance that just these flows are held and the others not, where each packet is held or not for itself.
  std::optional<double> partition_chance;
};

/// Over all episodes.
struct Verdict {
  Cause cause = Cause::nothing;
  std::string why;
  /// How many late and lost packets each cause has, by the number of the cause.
  std::array<std::int64_t, all_causes.size()> packet_counts{};
  /// Of receive_queue: flows that stalled, those that never did though they sent meanwhile, and the chance of that.
  std::vector<std::uint32_t> stalled_flows;
  std::vector<std::uint32_t> passing_flows;
  std::optional<double> partition_chance;
  /// Sets of flows that stall together and apart from one another: as many queues at least.
  std::int64_t queue_count = 0;
};

struct Options {
  /// When observation ended; the last time in the packets where that is later.
  std::int64_t end_ns = 0;
  /// The part of queue shapes that may be coincidence (false discovery rate, Benjamini and Hochberg), and the chance, for a whole
  /// run, of a wrong claim about which flows a queue has (divided among the episodes, Bonferroni).
  double false_claim_chance = 0.001;
  /// Episodes with fewer packets than the others are only counted from here on.
  std::size_t max_episodes = 1'000;
};

struct Analysis {
  /// In order of time.
  std::vector<StallEpisode> episodes;
  Verdict verdict;
  std::int64_t packet_count = 0;
  std::int64_t flow_count = 0;
  std::int64_t answered_count = 0;
  std::int64_t late_count = 0;
  std::int64_t own_late_count = 0;
  std::int64_t lost_count = 0;
  std::int64_t undecided_count = 0;
  std::int64_t unusable_count = 0;
  /// Late or lost packets in no episode: too few of them together.
  std::int64_t scattered_late_count = 0;
  std::int64_t scattered_lost_count = 0;
  /// Episodes that are not in `episodes`.
  std::int64_t left_out_count = 0;
};

/// Packets in any order; any times are safe. Takes n log n time and about 40 bytes for each packet beside the input while it runs.
[[nodiscard]] Analysis analyse(std::span<const TimedPacket> packets, const Options& options = {});

}  // namespace stallscope::shape
