// SPDX-License-Identifier: Apache-2.0
#include "shape/shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/units.h"
#include "shape/bursts.h"
#include "shape/classify.h"
#include "shape/verdict.h"

namespace stallscope::shape {
namespace {

/// Late or lost packets further apart than this, or than some packets' worth of sending, do not belong together.
constexpr std::int64_t spell_floor_ns = 20 * base::ns_per_ms;
constexpr std::int64_t spell_packets = 4;
/// Fewer are only counted.
constexpr std::size_t least_late_spell = 5;
constexpr std::size_t least_lost_spell = 3;
/// A level shift delays nearly all packets of its flows: at most this part passes.
constexpr double passing_part = 0.2;
/// In a gap a flow loses at least this part of its packets.
constexpr double gap_part = 0.5;

/// Where only some flows lose packets, each loses as many on average: one each is no gap of a flow.
constexpr std::int64_t least_lost_of_flow = 2;

class Analyser {
 public:
  Analyser(std::span<const TimedPacket> packets, const Options& options)
      : packets_(packets), options_(options), classified_(classify(packets, options.end_ns)) {}

  Analysis run() {
    count();
    if (classified_.by_sent.empty()) {
      analysis_.verdict.why = "no packet can be used";
      return std::move(analysis_);
    }
    spell_gap_ns_ = std::max(spell_floor_ns, spell_packets * (classified_.end_ns - classified_.start_ns) /
                                                 static_cast<std::int64_t>(classified_.by_sent.size()));
    find_sender_episodes();
    find_queue_episodes();
    overtaken_ = find_overtaken(packets_, classified_);
    find_spells(Fate::late);
    find_spells(Fate::lost);
    analysis_.scattered_late_count = scattered_.late_count;
    analysis_.scattered_lost_count = scattered_.lost_count;
    const std::optional<PooledQueue> pooled = pool(analysis_.episodes, open_, options_.false_claim_chance);
    for (const std::size_t index : pooled ? open_ : std::vector<std::size_t>{}) {
      StallEpisode& episode = analysis_.episodes[index];
      episode.cause = Cause::receive_queue;
      episode.why = "one queue stood still, and with its few packets it fits the flows of the others";
      episode.partition_chance = pooled->chance;
    }
    analysis_.verdict = conclude(analysis_.episodes, pooled, scattered_);
    keep_largest();
    return std::move(analysis_);
  }

 private:
  void count() {
    analysis_.packet_count = static_cast<std::int64_t>(classified_.by_sent.size());
    analysis_.answered_count = classified_.answered_count;
    analysis_.late_count = classified_.late_count;
    analysis_.own_late_count = classified_.own_late_count;
    analysis_.lost_count = classified_.lost_count;
    analysis_.undecided_count = classified_.undecided_count;
    analysis_.unusable_count = classified_.unusable_count;
    std::vector<bool> seen(classified_.baselines.size(), false);
    for (const std::uint32_t index : classified_.by_sent) {
      seen[packets_[index].flow] = true;
    }
    analysis_.flow_count = std::count(seen.begin(), seen.end(), true);
  }

  /// Packets that left late, one right after the other: the sender could not run.
  void find_sender_episodes() {
    StallEpisode episode;
    const auto finish = [&] {
      if (episode.held_count > 0) {
        episode.shortest_ns = episode.longest_ns = episode.release_ns - episode.earliest_start_ns;
        const TimeRange range{episode.earliest_start_ns, episode.release_ns};
        if (!own_late_.empty() && own_late_.back().end_ns >= range.start_ns) {
          own_late_.back().end_ns = std::max(own_late_.back().end_ns, range.end_ns);
        } else {
          own_late_.push_back(range);
        }
        add(std::move(episode));
      }
      episode = StallEpisode{};
    };
    for (const std::uint32_t index : classified_.by_sent) {
      if (classified_.fates[index] != Fate::own_late) {
        continue;
      }
      const TimedPacket& packet = packets_[index];
      if (episode.held_count > 0 && packet.intended_ns > episode.release_ns) {
        finish();
      }
      if (episode.held_count == 0) {
        episode.cause = Cause::sender;
        episode.why = "packets left late and were answered promptly";
        episode.earliest_start_ns = packet.intended_ns;
        episode.latest_start_ns = packet.intended_ns;
        episode.release_ns = packet.sent_ns;
      }
      ++episode.held_count;
      episode.earliest_start_ns = std::min(episode.earliest_start_ns, packet.intended_ns);
      episode.latest_start_ns = episode.earliest_start_ns;
      episode.drained_ns = packet.sent_ns;
    }
    finish();
  }

  void find_queue_episodes() {
    bursts_ = find_bursts(packets_, classified_);
    accepted_.assign(classified_.fates.size(), false);
    std::vector<std::size_t> candidates;
    for (std::size_t number = 0; number < bursts_.bursts.size(); ++number) {
      if (bursts_.bursts[number].release == Release::together) {
        candidates.push_back(number);
      }
    }
    std::vector<double> chances(bursts_.bursts.size(), 1);
    for (const std::size_t number : candidates) {
      chances[number] = coincidence_chance(bursts_.bursts[number], bursts_, classified_);
    }
    keep_discoveries(candidates, chances);
    // Large ones first: they must not be the ones for which there is no time.
    std::stable_sort(candidates.begin(), candidates.end(),
                     [&](std::size_t a, std::size_t b) { return bursts_.bursts[a].count() > bursts_.bursts[b].count(); });
    const double claim_chance = options_.false_claim_chance / static_cast<double>(std::max<std::size_t>(candidates.size(), 1));
    WitnessStand stand(packets_, classified_, bursts_, own_late_);
    for (const std::size_t number : candidates) {
      std::optional<Witness> witness = stand.hear(number);
      if (!witness) {
        continue;
      }
      const Burst& burst = bursts_.bursts[number];
      const Decision decision = decide(burst, *witness, claim_chance);
      if (decision.queue_shape || decision.cause == Cause::sender) {
        add_queue_episode(burst, *std::move(witness), decision, chances[number]);
      }
    }
  }

  /// Benjamini and Hochberg's procedure: of the candidates that stay, no more than the wanted part is coincidence. Each late packet
  /// that could have begun a burst is a test.
  void keep_discoveries(std::vector<std::size_t>& candidates, const std::vector<double>& chances) const {
    std::stable_sort(candidates.begin(), candidates.end(), [&](std::size_t a, std::size_t b) { return chances[a] < chances[b]; });
    std::size_t kept = 0;
    for (std::size_t at = 0; at < candidates.size(); ++at) {
      const double limit = options_.false_claim_chance * static_cast<double>(at + 1) /
                           static_cast<double>(std::max<std::int64_t>(bursts_.epoch_count, 1));
      kept = chances[candidates[at]] <= limit ? at + 1 : kept;
    }
    candidates.resize(kept);
  }

  void add_queue_episode(const Burst& burst, Witness witness, const Decision& decision, double coincidence) {
    StallEpisode episode;
    episode.cause = decision.cause;
    episode.why = decision.why;
    const std::int64_t under_way_ns = classified_.baseline(packets_[bursts_.late[burst.first]]).rtt_ns;
    episode.earliest_start_ns = witness.earliest_start_ns;
    episode.latest_start_ns = burst.first_sent_ns + under_way_ns;
    episode.release_ns = burst.first_arrival_ns;
    episode.drained_ns = burst.last_arrival_ns;
    episode.shortest_ns = std::max<std::int64_t>(0, episode.release_ns - episode.latest_start_ns);
    episode.longest_ns = episode.release_ns - episode.earliest_start_ns;
    episode.held_count = burst.count();
    episode.lost_count = accept_lost(burst, witness);
    episode.fit = burst.fit;
    episode.slope_95 = slope_interval(*burst.fit, burst.count());
    episode.release = burst.release;
    episode.stalled_flows = std::move(witness.stalled);
    episode.passing_flows = std::move(witness.passing);
    episode.passed_count = witness.passed_count;
    episode.coincidence_chance = coincidence;
    episode.partition_chance = decision.partition_chance;
    for (const FlowPart& part : episode.stalled_flows) {
      episode.reordered_count += part.reordered_count;
    }
    for (std::size_t at = burst.first; at < burst.last; ++at) {
      accepted_[bursts_.late[at]] = true;
    }
    const bool open = decision.queue_shape && decision.cause == Cause::unknown && !episode.passing_flows.empty();
    add(std::move(episode), open);
  }

  /// What a queue lost while it stood still is its own, not a loss of another cause. Returns how many packets no other episode has.
  std::int64_t accept_lost(const Burst& burst, const Witness& witness) {
    std::int64_t count = 0;
    if (witness.lost_count == 0) {
      return count;
    }
    auto at = std::partition_point(classified_.by_sent.begin(), classified_.by_sent.end(),
                                   [&](std::uint32_t index) { return packets_[index].sent_ns < burst.first_sent_ns; });
    for (; at != classified_.by_sent.end() && packets_[*at].sent_ns <= burst.first_arrival_ns; ++at) {
      const auto& flows = witness.stalled;
      const auto part = std::lower_bound(flows.begin(), flows.end(), packets_[*at].flow,
                                         [](const FlowPart& stalled, std::uint32_t flow) { return stalled.flow < flow; });
      if (classified_.fates[*at] == Fate::lost && !accepted_[*at] && part != flows.end() && part->flow == packets_[*at].flow) {
        accepted_[*at] = true;
        ++count;
      }
    }
    return count;
  }

  /// What no queue explains, late or lost, grouped by the time of sending.
  void find_spells(Fate fate) {
    std::vector<std::uint32_t> spell;
    const auto finish = [&] {
      if (spell.empty()) {
        return;
      }
      const bool told = fate == Fate::late ? spell.size() >= least_late_spell && add_late_spell(spell)
                                           : spell.size() >= least_lost_spell && add_lost_spell(spell);
      if (!told) {
        (fate == Fate::late ? scattered_.late_count : scattered_.lost_count) += static_cast<std::int64_t>(spell.size());
        scattered_.overtaken_count += fate == Fate::late ? overtaken_in(spell) : 0;
      }
      spell.clear();
    };
    for (const std::uint32_t index : classified_.by_sent) {
      if (classified_.fates[index] != fate || accepted_[index]) {
        continue;
      }
      if (!spell.empty() && packets_[index].sent_ns - packets_[spell.back()].sent_ns > spell_gap_ns_) {
        finish();
      }
      spell.push_back(index);
    }
    finish();
  }

  [[nodiscard]] std::int64_t overtaken_in(const std::vector<std::uint32_t>& spell) const {
    return std::count_if(spell.begin(), spell.end(), [&](std::uint32_t index) { return overtaken_[index]; });
  }

  /// Starts an episode with the flows of the spell and what passed meanwhile.
  StallEpisode begin_spell(const std::vector<std::uint32_t>& spell, Fate fate) {
    StallEpisode episode;
    const std::int64_t first_ns = packets_[spell.front()].sent_ns;
    const std::int64_t last_ns = packets_[spell.back()].sent_ns;
    episode.earliest_start_ns = episode.latest_start_ns = first_ns;
    parts_.resize(classified_.baselines.size());
    std::vector<std::uint32_t> flows;
    auto at = std::partition_point(classified_.by_sent.begin(), classified_.by_sent.end(),
                                   [&](std::uint32_t index) { return packets_[index].sent_ns < first_ns; });
    for (; at != classified_.by_sent.end() && packets_[*at].sent_ns <= last_ns; ++at) {
      FlowPart& part = parts_[packets_[*at].flow];
      if (part.held_count + part.passed_count + part.lost_count == 0) {
        flows.push_back(packets_[*at].flow);
      }
      const Fate its = classified_.fates[*at];
      part.held_count += its == Fate::late ? 1 : 0;
      part.lost_count += its == Fate::lost ? 1 : 0;
      part.passed_count += its != Fate::late && its != Fate::lost ? 1 : 0;
    }
    std::sort(flows.begin(), flows.end());
    for (const std::uint32_t flow : flows) {
      FlowPart part = std::exchange(parts_[flow], {});
      part.flow = flow;
      const bool stalled = (fate == Fate::late ? part.held_count : part.lost_count) > 0;
      episode.passed_count += stalled ? 0 : part.passed_count;
      (stalled ? episode.stalled_flows : episode.passing_flows).push_back(part);
    }
    return episode;
  }

  bool add_late_spell(const std::vector<std::uint32_t>& spell) {
    StallEpisode episode = begin_spell(spell, Fate::late);
    const std::int64_t first_ns = packets_[spell.front()].sent_ns;
    std::vector<Point> points;
    points.reserve(spell.size());
    episode.release_ns = packets_[spell.front()].answered_ns;
    for (const std::uint32_t index : spell) {
      const TimedPacket& packet = packets_[index];
      points.push_back({static_cast<double>(packet.sent_ns - first_ns), static_cast<double>(packet.rtt_ns())});
      episode.release_ns = std::min(episode.release_ns, packet.answered_ns);
      episode.drained_ns = std::max(episode.drained_ns, packet.answered_ns);
    }
    episode.held_count = static_cast<std::int64_t>(spell.size());
    episode.shortest_ns = packets_[spell.back()].sent_ns - first_ns;
    episode.longest_ns = episode.drained_ns - first_ns;
    episode.fit = fit_line(points);
    if (episode.fit) {
      episode.slope_95 = slope_interval(*episode.fit, episode.held_count);
      episode.release = judge_release(*episode.fit, episode.shortest_ns,
                                      packets_[spell.back()].answered_ns - packets_[spell.front()].answered_ns);
    }
    std::int64_t passed_count = 0;
    std::int64_t late_count = 0;
    for (const FlowPart& part : episode.stalled_flows) {
      passed_count += part.passed_count;
      late_count += part.held_count;
    }
    const std::int64_t overtaken_count = overtaken_in(spell);
    if (static_cast<double>(overtaken_count) > overtaken_part * static_cast<double>(spell.size())) {
      episode.cause = Cause::path;
      episode.why = fmt::format("packets are late one by one, and later ones of the same flow overtook {} of {}",
                                base::format_count(overtaken_count), base::format_count(episode.held_count));
    } else if (episode.release == Release::apart &&
               static_cast<double>(passed_count) <= passing_part * static_cast<double>(passed_count + late_count)) {
      episode.cause = Cause::path;
      episode.why =
          fmt::format("RTTs are higher for {} ms without falling as packets are sent (slope {:.2f}): no queue stood still",
                      base::format_ms(episode.shortest_ns), episode.fit->slope);
    } else {
      episode.why = "packets are late in a row, and neither the shape of a queue nor of a slow path is certain";
    }
    add(std::move(episode));
    return true;
  }

  bool add_lost_spell(const std::vector<std::uint32_t>& spell) {
    StallEpisode episode = begin_spell(spell, Fate::lost);
    std::int64_t sent_count = 0;
    std::int64_t late_count = 0;
    for (const FlowPart& part : episode.stalled_flows) {
      sent_count += part.held_count + part.passed_count + part.lost_count;
      late_count += part.held_count;
    }
    const auto lost_count = static_cast<std::int64_t>(spell.size());
    const bool all_flows = static_cast<double>(lost_count) >= gap_part * static_cast<double>(sent_count + episode.passed_count);
    const bool whole_flows = static_cast<double>(lost_count) >= gap_part * static_cast<double>(sent_count) &&
                             lost_count >= least_lost_of_flow * static_cast<std::int64_t>(episode.stalled_flows.size());
    if (!all_flows && !whole_flows) {
      return false;
    }
    episode.cause = Cause::loss;
    episode.lost_count = lost_count;
    episode.release_ns = episode.drained_ns = packets_[spell.back()].sent_ns;
    episode.shortest_ns = episode.longest_ns = episode.release_ns - episode.earliest_start_ns;
    episode.why = fmt::format("{} packets in a row are missing and {} late", base::format_count(episode.lost_count),
                              late_count == 0 ? "none came" : fmt::format("{} came", base::format_count(late_count)));
    add(std::move(episode));
    return true;
  }

  void add(StallEpisode&& episode, bool open = false) {
    if (open) {
      open_.push_back(analysis_.episodes.size());
    }
    analysis_.episodes.push_back(std::move(episode));
  }

  /// Puts episodes in order of time; of too many, those with most packets stay.
  void keep_largest() {
    std::vector<std::size_t> order(analysis_.episodes.size());
    for (std::size_t index = 0; index < order.size(); ++index) {
      order[index] = index;
    }
    const auto affected = [&](std::size_t index) {
      return analysis_.episodes[index].held_count + analysis_.episodes[index].lost_count;
    };
    if (order.size() > options_.max_episodes) {
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return affected(a) > affected(b); });
      analysis_.left_out_count = static_cast<std::int64_t>(order.size() - options_.max_episodes);
      order.resize(options_.max_episodes);
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return analysis_.episodes[a].earliest_start_ns < analysis_.episodes[b].earliest_start_ns;
    });
    std::vector<StallEpisode> kept;
    kept.reserve(order.size());
    for (const std::size_t index : order) {
      kept.push_back(std::move(analysis_.episodes[index]));
    }
    analysis_.episodes = std::move(kept);
  }

  std::span<const TimedPacket> packets_;
  const Options& options_;
  Classified classified_;
  Analysis analysis_;
  Bursts bursts_;
  std::vector<TimeRange> own_late_;
  /// Packets that an episode has already.
  std::vector<bool> accepted_;
  std::vector<bool> overtaken_;
  Scattered scattered_;
  std::vector<FlowPart> parts_;
  /// Episodes that are a queue's and only too small to tell which flows use it.
  std::vector<std::size_t> open_;
  std::int64_t spell_gap_ns_ = 0;
};

}  // namespace

std::string_view cause_title(Cause cause) {
  switch (cause) {
    case Cause::nothing:
      return "nothing";
    case Cause::receive_queue:
      return "one receive queue";
    case Cause::all_queues:
      return "all queues";
    case Cause::sender:
      return "sender or prober";
    case Cause::loss:
      return "loss";
    case Cause::path:
      return "path";
    case Cause::unknown:
      break;
  }
  return "cannot tell";
}

std::string_view cause_id(Cause cause) {
  switch (cause) {
    case Cause::nothing:
      return "nothing";
    case Cause::receive_queue:
      return "receive_queue";
    case Cause::all_queues:
      return "all_queues";
    case Cause::sender:
      return "sender";
    case Cause::loss:
      return "loss";
    case Cause::path:
      return "path";
    case Cause::unknown:
      break;
  }
  return "unknown";
}

Analysis analyse(std::span<const TimedPacket> packets, const Options& options) {
  return Analyser(packets, options).run();
}

}  // namespace stallscope::shape
