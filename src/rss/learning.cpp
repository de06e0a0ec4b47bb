// SPDX-License-Identifier: Apache-2.0
#include "rss/learning.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <random>
#include <set>
#include <utility>

#include "shape/statistics.h"

namespace stallscope::rss {
namespace {

/// Of a flow's packets, this part must be seen at one place, of a group's stalls, this part must hold the flow.
constexpr double settled_part = 0.9;
constexpr std::int64_t least_sightings = 3;
constexpr std::int64_t least_stalls = 2;
/// A bound for stalls that have nothing in common.
constexpr std::size_t most_groups = 256;
/// A right prediction may miss this part of flows: filters, and tables that were changed meanwhile.
constexpr double miss_part = 0.02;
constexpr std::int64_t permutations = 10'000;

struct Tally {
  std::int64_t held_count = 0;
  std::int64_t passed_count = 0;
};

struct GroupTally {
  std::map<std::uint32_t, Tally> flows;
  std::int64_t stall_count = 0;
};

/// Whether at least half of the smaller set is in both: the stall is of that group.
bool belongs(const StallSeen& stall, const GroupTally& group) {
  std::size_t common = 0;
  std::size_t known = 0;
  for (const auto& [flow, counts] : group.flows) {
    const bool held = counts.held_count > counts.passed_count;
    known += held ? 1U : 0U;
    common += held && std::binary_search(stall.stalled.begin(), stall.stalled.end(), flow) ? 1U : 0U;
  }
  return 2 * common >= std::min(known, stall.stalled.size());
}

std::vector<GroupTally> group_stalls(std::span<const StallSeen> stalls) {
  std::vector<GroupTally> groups;
  for (StallSeen stall : stalls) {
    if (stall.stalled.empty()) {
      continue;
    }
    std::sort(stall.stalled.begin(), stall.stalled.end());
    auto group = std::find_if(groups.begin(), groups.end(), [&](const GroupTally& known) { return belongs(stall, known); });
    if (group == groups.end()) {
      if (groups.size() == most_groups) {
        continue;
      }
      group = groups.emplace(groups.end());
    }
    ++group->stall_count;
    for (const std::uint32_t flow : stall.stalled) {
      ++group->flows[flow].held_count;
    }
    for (const std::uint32_t flow : stall.passing) {
      ++group->flows[flow].passed_count;
    }
  }
  return groups;
}

/// For each predicted queue, how many flows were found at the place where most of them were; all together.
std::int64_t count_agreeing(std::span<const std::size_t> queues, std::span<const std::size_t> places, std::size_t place_count,
                            std::vector<std::int64_t>& cells) {
  std::fill(cells.begin(), cells.end(), 0);
  for (std::size_t index = 0; index < queues.size(); ++index) {
    ++cells[queues[index] * place_count + places[index]];
  }
  std::int64_t agreeing = 0;
  for (std::size_t first = 0; first < cells.size(); first += place_count) {
    agreeing += *std::max_element(cells.begin() + static_cast<std::ptrdiff_t>(first),
                                  cells.begin() + static_cast<std::ptrdiff_t>(first + place_count));
  }
  return agreeing;
}

/// The chance of at least as many agreements when places are dealt out anew.
double permutation_chance(std::span<const std::size_t> queues, std::vector<std::size_t> places, std::size_t place_count,
                          std::vector<std::int64_t>& cells, std::int64_t agreeing) {
  std::mt19937_64 random(1);  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same result each time is what is wanted
  std::int64_t as_good = 0;
  for (std::int64_t round = 0; round < permutations; ++round) {
    for (std::size_t last = places.size(); last > 1; --last) {
      std::swap(places[last - 1], places[random() % last]);
    }
    as_good += count_agreeing(queues, places, place_count, cells) >= agreeing ? 1 : 0;
  }
  return static_cast<double>(as_good + 1) / static_cast<double>(permutations + 1);
}

/// Numbers from 0 for what may be any.
template <typename Value>
std::map<Value, std::size_t> number(const std::set<Value>& values) {
  std::map<Value, std::size_t> numbers;
  for (const Value& value : values) {
    numbers.emplace(value, numbers.size());
  }
  return numbers;
}

}  // namespace

std::map<std::uint32_t, std::int32_t> learn_places(std::span<const Sighting> sightings) {
  std::map<std::uint32_t, std::map<std::int32_t, std::int64_t>> counts;
  for (const Sighting& sighting : sightings) {
    ++counts[sighting.flow][sighting.place];
  }
  std::map<std::uint32_t, std::int32_t> places;
  for (const auto& [flow, at] : counts) {
    std::int64_t total = 0;
    auto most = at.begin();
    for (auto place = at.begin(); place != at.end(); ++place) {
      total += place->second;
      most = place->second > most->second ? place : most;
    }
    if (total >= least_sightings && static_cast<double>(most->second) >= settled_part * static_cast<double>(total)) {
      places.emplace(flow, most->first);
    }
  }
  return places;
}

LearnedQueues learn_queues(std::span<const StallSeen> stalls) {
  std::map<std::uint32_t, std::vector<std::size_t>> groups_of;
  std::set<std::uint32_t> seen;
  std::set<std::uint32_t> stalled;
  for (const StallSeen& stall : stalls) {
    seen.insert(stall.passing.begin(), stall.passing.end());
    stalled.insert(stall.stalled.begin(), stall.stalled.end());
  }
  const std::vector<GroupTally> tallies = group_stalls(stalls);
  for (std::size_t group = 0; group < tallies.size(); ++group) {
    for (const auto& [flow, counts] : tallies[group].flows) {
      const auto total = static_cast<double>(counts.held_count + counts.passed_count);
      if (counts.held_count >= least_stalls && static_cast<double>(counts.held_count) >= settled_part * total) {
        groups_of[flow].push_back(group);
      }
    }
  }
  LearnedQueues learned;
  std::vector<QueueGroup> groups(tallies.size());
  for (const std::uint32_t flow : stalled) {
    const auto known = groups_of.find(flow);
    if (known == groups_of.end() || known->second.size() != 1) {
      learned.unclear.push_back(flow);
      continue;
    }
    QueueGroup& group = groups[known->second.front()];
    group.flows.push_back(flow);
    group.stall_count = tallies[known->second.front()].stall_count;
  }
  std::copy_if(groups.begin(), groups.end(), std::back_inserter(learned.groups),
               [](const QueueGroup& group) { return !group.flows.empty(); });
  std::stable_sort(learned.groups.begin(), learned.groups.end(),
                   [](const QueueGroup& a, const QueueGroup& b) { return a.stall_count > b.stall_count; });
  std::set_difference(seen.begin(), seen.end(), stalled.begin(), stalled.end(), std::back_inserter(learned.never_stalled));
  return learned;
}

std::string_view agreement_id(Agreement agreement) {
  switch (agreement) {
    case Agreement::confirmed:
      return "confirmed";
    case Agreement::refuted:
      return "refuted";
    case Agreement::undecided:
      break;
  }
  return "undecided";
}

PredictionCheck check_prediction(std::span<const Comparison> comparisons, double claim_chance) {
  std::set<std::uint32_t> predicted;
  std::set<std::int32_t> observed;
  for (const Comparison& comparison : comparisons) {
    predicted.insert(comparison.predicted_queue);
    observed.insert(comparison.observed_place);
  }
  PredictionCheck check;
  check.compared_count = static_cast<std::int64_t>(comparisons.size());
  if (comparisons.empty()) {
    check.why = "no flow was seen";
    return check;
  }
  const std::map<std::uint32_t, std::size_t> queue_numbers = number(predicted);
  const std::map<std::int32_t, std::size_t> place_numbers = number(observed);
  std::vector<std::size_t> queues;
  std::vector<std::size_t> places;
  for (const Comparison& comparison : comparisons) {
    queues.push_back(queue_numbers.at(comparison.predicted_queue));
    places.push_back(place_numbers.at(comparison.observed_place));
  }
  std::vector<std::int64_t> cells(predicted.size() * observed.size());
  check.agreeing_count = count_agreeing(queues, places, observed.size(), cells);
  for (const auto& [queue, row] : queue_numbers) {
    const auto first = cells.begin() + static_cast<std::ptrdiff_t>(row * observed.size());
    const auto most = std::max_element(first, first + static_cast<std::ptrdiff_t>(observed.size())) - first;
    check.place_of_queue.emplace(queue, *std::next(observed.begin(), most));
  }
  const std::int64_t missing = check.compared_count - check.agreeing_count;
  const double miss_chance = shape::binomial_tail(missing, check.compared_count, miss_part);
  if (miss_chance <= claim_chance) {
    check.agreement = Agreement::refuted;
    check.why = fmt::format("{} of {} flows are not where the prediction has them (p {:.2g} were it right)", missing,
                            check.compared_count, miss_chance);
    return check;
  }
  if (predicted.size() < 2 || observed.size() < 2) {
    check.why =
        observed.size() < 2 ? "all flows are at one place, so nothing can be compared" : "all flows have one predicted queue";
    return check;
  }
  check.chance = permutation_chance(queues, std::move(places), observed.size(), cells, check.agreeing_count);
  if (check.chance > claim_chance) {
    check.why = fmt::format("{} of {} flows agree, as they may by chance (p = {:.2g})", check.agreeing_count, check.compared_count,
                            check.chance);
    return check;
  }
  check.agreement = Agreement::confirmed;
  check.why = fmt::format("{} of {} flows are where the prediction has them (p = {:.2g} by chance)", check.agreeing_count,
                          check.compared_count, check.chance);
  return check;
}

}  // namespace stallscope::rss
