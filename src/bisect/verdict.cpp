// SPDX-License-Identifier: Apache-2.0
#include "bisect/verdict.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

namespace stallscope::bisect {
namespace {

using Decision = SequentialTest::Decision;

constexpr std::int64_t fewest_lost_of_a_silent_rung = 20;
constexpr std::size_t most_causes = 3;
/// A further cause has to make what was seen so much more likely, beyond its own cost (half the logarithm of the number of stalls).
const double gain_of_a_cause = std::log((1 - SequentialTest::error) / SequentialTest::error);

/// The logarithm of how likely a stall's hits are if its cause lies where `crossing` goes.
double log_likelihood(const Stall& stall, RungSet crossing) {
  const auto times = [](const RungSet& set, double probability) {
    return static_cast<double>(set.count()) * std::log(probability);
  };
  const RungSet expected = stall.exposed & crossing;
  const RungSet unexpected = stall.exposed & ~crossing;
  return times(expected & stall.hit, SequentialTest::crossing_share) +
         times(expected & ~stall.hit, 1 - SequentialTest::crossing_share) +
         times(unexpected & stall.hit, SequentialTest::clean_share) +
         times(unexpected & ~stall.hit, 1 - SequentialTest::clean_share);
}

/// Where the cause may lie: the rungs of each layer, and what was hit in some stall, as the path may lack the layer that matters.
std::vector<RungSet> candidates(const Path& path, std::span<const Stall> stalls, RungSet usable) {
  std::vector<RungSet> sets;
  const auto add = [&](RungSet set) {
    if (set.any() && std::find(sets.begin(), sets.end(), set) == sets.end()) {
      sets.push_back(set);
    }
  };
  for (const std::string& layer : path.layers()) {
    add(path.crossing(layer) & usable);
  }
  for (const Stall& stall : stalls) {
    if ((stall.exposed & usable) == usable) {
      add(stall.hit & usable);
    }
  }
  return sets;
}

struct Mixture {
  std::vector<RungSet> sets;
  std::vector<double> weights;
  double log_likelihood = -std::numeric_limits<double>::infinity();
};

/// Which of several causes each stall has is not known: expectation maximisation over their shares.
Mixture fit(std::vector<RungSet> sets, std::span<const Stall> stalls) {
  Mixture mixture{std::move(sets), {}, 0};
  const std::size_t n = mixture.sets.size();
  mixture.weights.assign(n, 1.0 / static_cast<double>(n));
  constexpr int rounds = 30;
  for (int round = 0; round < rounds; ++round) {
    std::vector<double> shares(n);
    mixture.log_likelihood = 0;
    for (const Stall& stall : stalls) {
      std::vector<double> parts(n);
      double sum = 0;
      for (std::size_t i = 0; i < n; ++i) {
        parts[i] = mixture.weights[i] * std::exp(log_likelihood(stall, mixture.sets[i]));
        sum += parts[i];
      }
      mixture.log_likelihood += std::log(sum);
      for (std::size_t i = 0; i < n; ++i) {
        shares[i] += parts[i] / sum / static_cast<double>(stalls.size());
      }
    }
    if (n == 1) {
      break;
    }
    mixture.weights = shares;
  }
  return mixture;
}

/// Causes are added one by one, for as long as each makes what was seen much more likely.
Mixture find_mixture(const std::vector<RungSet>& sets, std::span<const Stall> stalls) {
  Mixture best;
  for (std::size_t size = 1; size <= most_causes; ++size) {
    Mixture better;
    for (const RungSet& set : sets) {
      if (std::find(best.sets.begin(), best.sets.end(), set) != best.sets.end()) {
        continue;
      }
      std::vector<RungSet> more = best.sets;
      more.push_back(set);
      Mixture fitted = fit(std::move(more), stalls);
      if (fitted.log_likelihood > better.log_likelihood) {
        better = std::move(fitted);
      }
    }
    const double needed = gain_of_a_cause + (std::log(static_cast<double>(stalls.size())) / 2);
    if (better.sets.empty() || (size > 1 && better.log_likelihood - best.log_likelihood < needed)) {
      break;
    }
    best = std::move(better);
  }
  return best;
}

std::size_t likeliest(const Mixture& mixture, const Stall& stall) {
  std::size_t best = 0;
  double best_value = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < mixture.sets.size(); ++i) {
    const double value = std::log(std::max(mixture.weights[i], 1e-300)) + log_likelihood(stall, mixture.sets[i]);
    if (value > best_value) {
      best = i;
      best_value = value;
    }
  }
  return best;
}

std::optional<Exoneration> exonerate(const std::string& layer, RungSet crossing, const Cause& cause, RungSet usable) {
  std::optional<Exoneration> best;
  for (std::size_t rung = 0; rung < cause.tests.size(); ++rung) {
    if (!usable.test(rung)) {
      continue;
    }
    const SequentialTest& test = cause.tests[rung];
    const bool clean = crossing.test(rung) && test.decision() == Decision::clean;
    const bool late_without = !crossing.test(rung) && test.decision() == Decision::crosses;
    if (!clean && !late_without) {
      continue;
    }
    // Of several the one that leaves out most: it crosses the fewest layers of all, which is what the last rungs do.
    const Exoneration found{layer, rung, clean, test.hits(), test.exposed()};
    if (!best || (late_without && best->crossed_and_clean) ||
        (late_without == !best->crossed_and_clean && found.exposed > best->exposed)) {
      best = found;
    }
  }
  return best;
}

/// Layers and what the decided rungs say of them.
void judge(Cause& cause, const Path& path, RungSet usable, std::int64_t observed_ns) {
  RungSet hit;
  RungSet clean;
  for (std::size_t rung = 0; rung < cause.tests.size(); ++rung) {
    if (!usable.test(rung)) {
      continue;
    }
    const SequentialTest& test = cause.tests[rung];
    hit.set(rung, test.decision() == Decision::crosses);
    clean.set(rung, test.decision() == Decision::clean);
    if (test.decision() == Decision::open) {
      // Not every stall is long enough to expose every rung.
      const auto stalls = static_cast<std::int64_t>(cause.stalls.size());
      const std::int64_t missing =
          test.stalls_missing() * std::max<std::int64_t>(stalls, 1) / std::max<std::int64_t>(test.exposed(), 1);
      cause.stalls_missing = std::max(cause.stalls_missing, missing);
      cause.time_missing_ns = std::max(cause.time_missing_ns, observed_ns / std::max<std::int64_t>(stalls, 1) * missing);
    }
  }
  if ((hit | clean) != usable) {
    return;
  }
  for (const std::string& layer : path.layers()) {
    const RungSet crossing = path.crossing(layer);
    if (hit.any() && (crossing & hit) == hit && (crossing & clean).none()) {
      cause.suspects.push_back(layer);
    } else if (const std::optional<Exoneration> exonerated = exonerate(layer, crossing, cause, usable)) {
      cause.exonerated.push_back(*exonerated);
    }
  }
  cause.state = cause.suspects.empty() ? Cause::State::no_such_layer : Cause::State::found;
}

}  // namespace

bool Verdict::decided() const {
  return !causes.empty() &&
         std::none_of(causes.begin(), causes.end(), [](const Cause& cause) { return cause.state == Cause::State::open; });
}

Verdict compare(const Path& path, std::span<const Stall> stalls, RungSet silent, std::int64_t observed_ns) {
  Verdict verdict;
  verdict.stall_count = static_cast<std::int64_t>(stalls.size());
  verdict.observed_ns = observed_ns;
  if (stalls.empty()) {
    return verdict;
  }
  RungSet usable;
  for (std::size_t rung = 0; rung < path.rungs.size(); ++rung) {
    usable.set(rung, !silent.test(rung));
  }
  const Mixture mixture = find_mixture(candidates(path, stalls, usable), stalls);
  verdict.causes.resize(mixture.sets.size());
  for (Cause& cause : verdict.causes) {
    cause.tests.resize(path.rungs.size());
  }
  for (const Stall& stall : stalls) {
    Cause& cause = verdict.causes[likeliest(mixture, stall)];
    cause.stalls.push_back(stall);
    for (std::size_t rung = 0; rung < path.rungs.size(); ++rung) {
      if (stall.exposed.test(rung)) {
        cause.tests[rung].add(stall.hit.test(rung));
      }
    }
  }
  std::erase_if(verdict.causes, [](const Cause& cause) { return cause.stalls.empty(); });
  for (Cause& cause : verdict.causes) {
    judge(cause, path, usable, observed_ns);
  }
  std::stable_sort(verdict.causes.begin(), verdict.causes.end(),
                   [](const Cause& a, const Cause& b) { return a.stalls.size() > b.stalls.size(); });
  return verdict;
}

RungSet silent_rungs(const std::vector<RungCounts>& rungs) {
  RungSet silent;
  for (std::size_t rung = 0; rung < rungs.size(); ++rung) {
    silent.set(rung, rungs[rung].answered == 0 && rungs[rung].lost >= fewest_lost_of_a_silent_rung);
  }
  return silent;
}

LossComparison compare_loss(const Path& path, const std::vector<RungCounts>& rungs, RungSet silent) {
  LossComparison comparison;
  Interval highest;
  std::vector<Interval> intervals;
  for (std::size_t rung = 0; rung < rungs.size(); ++rung) {
    intervals.push_back(wilson_interval(rungs[rung].lost, rungs[rung].lost + rungs[rung].answered));
    if (!silent.test(rung) && intervals.back().low > highest.low) {
      highest = intervals.back();
    }
  }
  RungSet sound;
  for (std::size_t rung = 0; rung < rungs.size(); ++rung) {
    if (silent.test(rung) || rungs[rung].answered == 0) {
      continue;
    }
    // As much as the worst, or clearly less. What lies between says nothing.
    comparison.losing.set(rung, highest.low > 0 && intervals[rung].high >= highest.low && rungs[rung].lost > 0);
    sound.set(rung, intervals[rung].high < highest.low);
  }
  for (const std::string& layer : path.layers()) {
    const RungSet crossing = path.crossing(layer);
    if (comparison.losing.any() && (crossing & comparison.losing) == comparison.losing && (crossing & sound).none() &&
        sound.any()) {
      comparison.suspects.push_back(layer);
    }
  }
  return comparison;
}

}  // namespace stallscope::bisect
