// SPDX-License-Identifier: Apache-2.0
#include "shape/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/units.h"

namespace stallscope::shape {
namespace {

/// Of the packets that arrived together, this part must belong to flows that stalled as a whole.
constexpr double whole_flows_part = 0.8;
/// Of as many packets as were held, this part at most may have arrived in the silence before.
constexpr std::int64_t noise_divisor = 10;
/// Flows that all stall prove all queues only where chance does not put them into one queue more often than this.
constexpr double same_queue_limit = 0.05;
/// The sender explains a stall from this part of it on.
constexpr double own_late_part = 0.5;
/// A cause stands for the whole run from this part of its late and lost packets on.
constexpr double main_cause_part = 2.0 / 3.0;
/// Fewer late packets than this do not show a shape.
constexpr std::int64_t least_scattered_count = 5;

std::string plural(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", base::format_count(count), noun, count == 1 ? "" : "s");
}

/// "< 1e-12" or "= 0.002": as the text of a verdict gives a chance.
std::string chance_text(double chance) {
  constexpr double smallest = 1e-12;
  return chance < smallest ? "< 1e-12" : fmt::format("= {:.2g}", chance);
}

/// The logarithm of the number of sets of flows there are to choose from, by which a chance is multiplied because the set was
/// chosen after looking: those of this size, for each size there could have been.
double log_choices(std::int64_t flow_count, std::int64_t stalled_count) {
  return log_choose(flow_count, stalled_count) + std::log(std::max<double>(1, static_cast<double>(flow_count)));
}

std::int64_t affected_count(const StallEpisode& episode) {
  return episode.held_count + episode.lost_count;
}

}  // namespace

double partition_chance(std::int64_t flow_count, std::int64_t stalled_count, std::int64_t sent_count,
                        std::int64_t stalled_sent_count, std::int64_t held_count, std::int64_t hits) {
  const double log_chance =
      log_choices(flow_count, stalled_count) + log_hypergeometric_tail(hits, sent_count, stalled_sent_count, held_count);
  return std::exp(std::min(0.0, log_chance));
}

double same_queue_chance(std::int64_t flow_count) {
  return std::exp2(static_cast<double>(1 - std::max<std::int64_t>(flow_count, 1)));
}

Decision decide(const Burst& burst, const Witness& witness, double claim_chance) {
  Decision decision;
  const auto stalled_count = static_cast<std::int64_t>(witness.stalled.size());
  if (burst.release == Release::apart) {
    decision.why = "they did not arrive together";
    return decision;
  }
  if (burst.release == Release::unknown) {
    decision.why = "the slope is too uncertain";
    return decision;
  }
  if (static_cast<double>(witness.held_count) < whole_flows_part * static_cast<double>(burst.count())) {
    decision.why = "single packets were held, and others of the same flows passed them";
    return decision;
  }
  if (witness.noise_count * noise_divisor > witness.held_count) {
    decision.why = "answers kept arriving before they did, so no queue stood still";
    return decision;
  }
  decision.queue_shape = true;
  if (static_cast<double>(witness.own_late_ns) > own_late_part * static_cast<double>(burst.length_ns())) {
    decision.cause = Cause::sender;
    decision.queue_shape = false;
    decision.why = fmt::format("the sender itself was late for {} of the {} ms", base::format_ms(witness.own_late_ns),
                               base::format_ms(burst.length_ns()));
    return decision;
  }
  if (stalled_count == witness.flow_count) {
    const double chance = same_queue_chance(stalled_count);
    if (stalled_count == 1) {
      decision.why = "one queue stood still, but only one flow was sending";
    } else if (chance > same_queue_limit) {
      decision.why = fmt::format("all {} flows stalled, but so few may use one queue by chance (p = {:.2g} with two queues)",
                                 stalled_count, chance);
    } else {
      decision.cause = Cause::all_queues;
      decision.why = fmt::format("all {} flows with traffic stalled and were released together", stalled_count);
    }
    return decision;
  }
  decision.partition_chance = partition_chance(witness.flow_count, stalled_count, witness.all_sent_count,
                                               witness.stalled_sent_count, burst.count(), witness.held_count);
  if (witness.passing.empty()) {
    decision.why = "no other flow is seen to pass meanwhile";
  } else if (*decision.partition_chance > claim_chance) {
    decision.why = fmt::format("one queue stood still, but with so few packets of each flow it is open which flows use it (p {})",
                               chance_text(*decision.partition_chance));
  } else {
    decision.cause = Cause::receive_queue;
    decision.why = fmt::format(
        "{} stalled as a whole while {} of {} passed (p {})", plural(stalled_count, "flow"), plural(witness.passed_count, "packet"),
        plural(static_cast<std::int64_t>(witness.passing.size()), "other flow"), chance_text(*decision.partition_chance));
  }
  return decision;
}

namespace {

struct Tally {
  std::int64_t held_count = 0;
  std::int64_t passed_count = 0;
  std::int64_t stalls = 0;
};

/// By flow, over episodes.
std::map<std::uint32_t, Tally> tally(std::span<const StallEpisode> episodes, std::span<const std::size_t> chosen) {
  std::map<std::uint32_t, Tally> flows;
  for (const std::size_t index : chosen) {
    for (const FlowPart& part : episodes[index].stalled_flows) {
      Tally& flow = flows[part.flow];
      flow.held_count += part.held_count;
      flow.passed_count += part.passed_count;
      ++flow.stalls;
    }
    for (const FlowPart& part : episodes[index].passing_flows) {
      flows[part.flow].passed_count += part.passed_count;
    }
  }
  return flows;
}

/// Puts episodes whose flows overlap by half or more into one queue; returns how many queues that makes.
std::int64_t count_queues(std::span<const StallEpisode> episodes, std::span<const std::size_t> queues,
                          const std::optional<PooledQueue>& pooled) {
  // A bound for runs in which nothing repeats.
  constexpr std::size_t most_queues = 256;
  std::vector<std::vector<std::uint32_t>> found;
  if (pooled) {
    found.push_back(pooled->stalled_flows);
  }
  for (const std::size_t index : queues) {
    std::vector<std::uint32_t> flows;
    for (const FlowPart& part : episodes[index].stalled_flows) {
      flows.push_back(part.flow);
    }
    const bool known = std::any_of(found.begin(), found.end(), [&](const auto& queue) {
      std::vector<std::uint32_t> common;
      std::set_intersection(queue.begin(), queue.end(), flows.begin(), flows.end(), std::back_inserter(common));
      return 2 * common.size() >= std::min(queue.size(), flows.size());
    });
    if (!known && found.size() < most_queues) {
      found.push_back(std::move(flows));
    }
  }
  return static_cast<std::int64_t>(found.size());
}

void describe_queue(std::span<const StallEpisode> episodes, const std::optional<PooledQueue>& pooled, Verdict& verdict) {
  std::vector<std::size_t> queues;
  double chance = pooled ? pooled->chance : 1;
  for (std::size_t index = 0; index < episodes.size(); ++index) {
    if (episodes[index].cause == Cause::receive_queue) {
      queues.push_back(index);
      chance = std::min(chance, episodes[index].partition_chance.value_or(1));
    }
  }
  verdict.queue_count = count_queues(episodes, queues, pooled);
  for (const auto& [flow, counts] : tally(episodes, queues)) {
    (counts.stalls > 0 ? verdict.stalled_flows : verdict.passing_flows).push_back(flow);
  }
  verdict.partition_chance = chance;
  const std::string stalls = plural(static_cast<std::int64_t>(queues.size()), "stall");
  const std::string at_once = verdict.queue_count > 1 ? fmt::format("one of {} sets of flows at a time", verdict.queue_count)
                                                      : fmt::format("{} of {} flows", verdict.stalled_flows.size(),
                                                                    verdict.stalled_flows.size() + verdict.passing_flows.size());
  verdict.why = fmt::format("in {}, {} stalled as a whole while the others passed (p {})", stalls, at_once, chance_text(chance));
}

}  // namespace

std::optional<PooledQueue> pool(std::span<const StallEpisode> episodes, std::span<const std::size_t> chosen, double claim_chance) {
  std::vector<std::uint32_t> stalled;
  std::vector<std::uint32_t> passing;
  const std::map<std::uint32_t, Tally> flows = tally(episodes, chosen);
  for (const auto& [flow, counts] : flows) {
    (counts.held_count > counts.passed_count ? stalled : passing).push_back(flow);
  }
  const auto stalls = [&](const FlowPart& part) { return std::binary_search(stalled.begin(), stalled.end(), part.flow); };
  std::int64_t all_held_count = 0;
  std::int64_t all_hits = 0;
  double log_chances = 0;
  for (const std::size_t index : chosen) {
    std::int64_t sent_count = 0;
    std::int64_t stalled_sent_count = 0;
    std::int64_t held_count = 0;
    std::int64_t hits = 0;
    for (const std::vector<FlowPart>* parts : {&episodes[index].stalled_flows, &episodes[index].passing_flows}) {
      for (const FlowPart& part : *parts) {
        sent_count += part.held_count + part.passed_count;
        held_count += part.held_count;
        stalled_sent_count += stalls(part) ? part.held_count + part.passed_count : 0;
        hits += stalls(part) ? part.held_count : 0;
      }
    }
    log_chances += log_hypergeometric_tail(hits, sent_count, stalled_sent_count, held_count);
    all_held_count += held_count;
    all_hits += hits;
  }
  const double chance =
      std::exp(std::min(0.0, log_choices(static_cast<std::int64_t>(flows.size()), static_cast<std::int64_t>(stalled.size())) +
                                 log_combined_chance(log_chances, static_cast<std::int64_t>(chosen.size()))));
  if (passing.empty() || chance > claim_chance ||
      static_cast<double>(all_hits) < whole_flows_part * static_cast<double>(all_held_count)) {
    return std::nullopt;
  }
  return PooledQueue{std::move(stalled), std::move(passing), chance};
}

Verdict conclude(std::span<const StallEpisode> episodes, const std::optional<PooledQueue>& pooled, const Scattered& scattered) {
  Verdict verdict;
  for (const StallEpisode& episode : episodes) {
    verdict.packet_counts[static_cast<std::size_t>(episode.cause)] += affected_count(episode);
  }
  const bool one_by_one =
      scattered.overtaken_count >= least_scattered_count &&
      static_cast<double>(scattered.overtaken_count) > overtaken_part * static_cast<double>(scattered.late_count);
  verdict.packet_counts[static_cast<std::size_t>(Cause::loss)] += scattered.lost_count;
  verdict.packet_counts[static_cast<std::size_t>(one_by_one ? Cause::path : Cause::unknown)] += scattered.late_count;
  const std::int64_t total = std::accumulate(verdict.packet_counts.begin(), verdict.packet_counts.end(), std::int64_t{0});
  if (total == 0) {
    verdict.why = "no packet was late or lost";
    return verdict;
  }
  const auto* const most = std::max_element(verdict.packet_counts.begin(), verdict.packet_counts.end());
  verdict.cause = static_cast<Cause>(most - verdict.packet_counts.begin());
  if (static_cast<double>(*most) < main_cause_part * static_cast<double>(total)) {
    verdict.cause = Cause::unknown;
    verdict.why = "several causes have a part:";
    for (const Cause cause : all_causes) {
      const std::int64_t count = verdict.packet_counts[static_cast<std::size_t>(cause)];
      if (count > 0) {
        verdict.why += fmt::format(" {} {},", cause_title(cause), base::format_count(count));
      }
    }
    verdict.why.back() = ' ';
    verdict.why += "packets";
    return verdict;
  }
  if (verdict.cause == Cause::receive_queue) {
    describe_queue(episodes, pooled, verdict);
    return verdict;
  }
  // The largest episode of that cause speaks for it, unless more packets are in none.
  const StallEpisode* largest = nullptr;
  std::int64_t in_episodes = 0;
  for (const StallEpisode& episode : episodes) {
    if (episode.cause == verdict.cause) {
      in_episodes += affected_count(episode);
      largest = largest == nullptr || affected_count(episode) > affected_count(*largest) ? &episode : largest;
    }
  }
  if (largest != nullptr && 2 * in_episodes >= *most) {
    verdict.why = largest->why;
  } else if (verdict.cause == Cause::loss) {
    verdict.why = fmt::format("{} lost one by one", plural(scattered.lost_count, "packet"));
  } else if (verdict.cause == Cause::path) {
    verdict.why = fmt::format("{} late one by one, {} of them overtaken by later ones of the same flow",
                              plural(scattered.late_count, "packet"), base::format_count(scattered.overtaken_count));
  } else {
    verdict.why = fmt::format("{} late, too few at a time to show a shape", plural(scattered.late_count, "packet"));
  }
  return verdict;
}

}  // namespace stallscope::shape
