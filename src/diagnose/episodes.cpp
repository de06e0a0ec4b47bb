// SPDX-License-Identifier: Apache-2.0
#include "diagnose/episodes.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <optional>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "diagnose/arithmetic.h"
#include "shape/lateness.h"
#include "shape/release.h"
#include "shape/statistics.h"

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;
using evidence::ProbeRecord;

bool usable(const ProbeRecord& probe, const TimeWindow& window) {
  if (!window.contains(probe.intended_ns) || !window.contains(probe.sent_ns) || probe.sequence < 0) {
    return false;
  }
  return !probe.answered() || window.contains(probe.sent_ns, probe.received_ns);
}

using shape::Baseline;

Baseline baseline_of(std::vector<std::int64_t> rtts) {
  return shape::measure_baseline(rtts);
}

/// The baselines of everything that was probed: what is usual for one target, or for one kind of probe, is late for another.
class Baselines {
 public:
  Baselines(const Evidence& evidence, const std::vector<std::size_t>& order) {
    using Destination = std::tuple<evidence::ProbeKind, std::string_view, std::uint16_t>;
    std::map<Destination, std::size_t> destinations;
    for (const evidence::FlowRecord& flow : evidence.flows) {
      by_flow_[flow.id] =
          destinations.try_emplace({flow.kind, flow.target_address, flow.target_port}, destinations.size() + 1).first->second;
    }
    std::vector<std::vector<std::int64_t>> rtts(destinations.size() + 1);
    std::vector<std::int64_t> all;
    for (const std::size_t index : order) {
      const ProbeRecord& probe = evidence.probes[index];
      if (probe.answered()) {
        rtts[destination_of(probe)].push_back(probe.rtt_ns());
        all.push_back(probe.rtt_ns());
      }
    }
    answered_count_ = static_cast<std::int64_t>(all.size());
    overall_ = baseline_of(std::move(all));
    std::transform(rtts.begin(), rtts.end(), std::back_inserter(baselines_), baseline_of);
  }

  [[nodiscard]] const Baseline& of(const ProbeRecord& probe) const { return baselines_[destination_of(probe)]; }
  [[nodiscard]] const Baseline& overall() const { return overall_; }
  [[nodiscard]] std::int64_t answered_count() const { return answered_count_; }

 private:
  /// 0 for probes whose flow is not known.
  [[nodiscard]] std::size_t destination_of(const ProbeRecord& probe) const {
    const auto found = by_flow_.find(probe.flow_id);
    return found == by_flow_.end() ? 0 : found->second;
  }

  std::unordered_map<std::int64_t, std::size_t> by_flow_;
  std::vector<Baseline> baselines_;
  Baseline overall_;
  std::int64_t answered_count_ = 0;
};

ProbeFate judge_answered(const ProbeRecord& probe, const Baseline& baseline) {
  switch (shape::judge_answer(baseline, probe.intended_ns, probe.sent_ns, probe.received_ns)) {
    case shape::Fate::late:
      return ProbeFate::late;
    case shape::Fate::own_late:
      return ProbeFate::own_late;
    default:
      return ProbeFate::on_time;
  }
}

/// Whether `next`, the late probe after `last`, belongs to the same episode.
bool same_episode(const ProbeRecord& last, const ProbeRecord& next, std::int64_t interval_ns) {
  const std::int64_t together_ns = std::max(interval_ns / shape::together_divisor, shape::together_floor_ns);
  const bool released_together = std::abs(next.received_ns - last.received_ns) <= together_ns;
  // A path that is merely slow delays neighbours by the same time; without this each would be an episode of its own.
  const bool equally_late = next.sequence == last.sequence + 1 && std::abs(next.score_ns() - last.score_ns()) <= together_ns;
  return released_together || equally_late;
}

Episode make_episode(const Evidence& evidence, std::vector<std::size_t> probes, std::optional<std::int64_t> previous_on_time_ns) {
  Episode episode;
  episode.held = describe_held(evidence, std::move(probes));
  episode.latest_start_ns = evidence.probes[episode.held.probes.front()].sent_ns;
  episode.earliest_start_ns = std::min(previous_on_time_ns.value_or(episode.latest_start_ns), episode.latest_start_ns);
  for (const std::size_t index : episode.held.probes) {
    episode.release_ns = std::max(episode.release_ns, evidence.probes[index].received_ns);
  }
  return episode;
}

std::vector<Episode> find_episodes(const Evidence& evidence, const std::vector<std::size_t>& order,
                                   const std::vector<ProbeFate>& fates) {
  // A negative interval cannot come from a recorder; it is treated as unknown.
  const std::int64_t interval_ns = std::max<std::int64_t>(evidence.run.probe_interval_ns, 0);
  std::vector<Episode> episodes;
  std::vector<std::size_t> current;
  std::optional<std::int64_t> on_time_before_current_ns;
  std::optional<std::int64_t> last_on_time_ns;
  const auto finish = [&] {
    if (!current.empty()) {
      episodes.push_back(make_episode(evidence, std::exchange(current, {}), on_time_before_current_ns));
    }
  };
  for (const std::size_t index : order) {
    const ProbeRecord& probe = evidence.probes[index];
    if (fates[index] == ProbeFate::on_time) {
      last_on_time_ns = probe.sent_ns;
    }
    if (fates[index] != ProbeFate::late) {
      continue;
    }
    if (!current.empty() && !same_episode(evidence.probes[current.back()], probe, interval_ns)) {
      finish();
    }
    if (current.empty()) {
      on_time_before_current_ns = last_on_time_ns;
    }
    current.push_back(index);
  }
  finish();
  return episodes;
}

Release judge_release(const Evidence& evidence, const HeldProbes& held) {
  if (!held.fit) {
    return Release::unknown;
  }
  const ProbeRecord& first = evidence.probes[held.probes.front()];
  const ProbeRecord& last = evidence.probes[held.probes.back()];
  return shape::judge_release(*held.fit, last.intended_ns - first.intended_ns, last.received_ns - first.received_ns);
}

}  // namespace

HeldProbes describe_held(const Evidence& evidence, std::vector<std::size_t> probes) {
  HeldProbes held;
  std::sort(probes.begin(), probes.end(),
            [&](std::size_t a, std::size_t b) { return evidence.probes[a].sequence < evidence.probes[b].sequence; });
  held.probes = std::move(probes);
  if (held.probes.empty()) {
    return held;
  }
  const ProbeRecord& first = evidence.probes[held.probes.front()];
  const ProbeRecord& last = evidence.probes[held.probes.back()];
  held.first_sequence = first.sequence;
  held.last_sequence = last.sequence;
  held.first_score_ns = first.score_ns();
  held.last_score_ns = last.score_ns();
  std::vector<shape::Point> points;
  points.reserve(held.probes.size());
  for (const std::size_t index : held.probes) {
    const ProbeRecord& probe = evidence.probes[index];
    held.worst_score_ns = std::max(held.worst_score_ns, probe.score_ns());
    // Relative to the first: a double does not hold nanoseconds of uptime exactly.
    points.push_back({static_cast<double>(probe.intended_ns - first.intended_ns), static_cast<double>(probe.score_ns())});
  }
  held.fit = shape::fit_line(points);
  held.release = judge_release(evidence, held);
  return held;
}

ProbeAnalysis analyse_probes(const Evidence& evidence, const TimeWindow& window) {
  ProbeAnalysis analysis;
  ProbeSummary& summary = analysis.summary;
  analysis.fates.assign(evidence.probes.size(), ProbeFate::unusable);
  std::vector<std::size_t> order;
  order.reserve(evidence.probes.size());
  for (std::size_t index = 0; index < evidence.probes.size(); ++index) {
    if (usable(evidence.probes[index], window)) {
      order.push_back(index);
    } else {
      ++analysis.unusable_count;
    }
  }
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return evidence.probes[a].sequence < evidence.probes[b].sequence; });
  const Baselines baselines(evidence, order);
  summary.answered_count = baselines.answered_count();
  summary.baseline_rtt_ns = baselines.overall().rtt_ns;
  summary.noise_ns = baselines.overall().noise_ns;
  summary.late_after_ns = baselines.overall().late_after_ns;

  summary.sent_count = static_cast<std::int64_t>(order.size());
  std::int64_t slowest_answer_ns = 0;
  for (const std::size_t index : order) {
    const ProbeRecord& probe = evidence.probes[index];
    summary.worst_own_lateness_ns = std::max(summary.worst_own_lateness_ns, probe.own_lateness_ns());
    if (!probe.answered()) {
      continue;
    }
    const ProbeFate fate = judge_answered(probe, baselines.of(probe));
    analysis.fates[index] = fate;
    slowest_answer_ns = std::max(slowest_answer_ns, probe.rtt_ns());
    summary.late_count += fate == ProbeFate::late ? 1 : 0;
    summary.own_late_count += fate == ProbeFate::own_late ? 1 : 0;
    summary.worst_ns = fate == ProbeFate::own_late ? summary.worst_ns : std::max(summary.worst_ns, probe.score_ns());
  }
  // Where replies took longer than the usual limit, a probe has to be older than the slowest of them to be called lost.
  const std::int64_t decided_after_ns = std::max(lost_after_ns, slowest_answer_ns);
  for (const std::size_t index : order) {
    const ProbeRecord& probe = evidence.probes[index];
    if (!probe.answered()) {
      const bool lost = saturating_subtract(evidence.run.end_ns, probe.sent_ns) >= decided_after_ns;
      analysis.fates[index] = lost ? ProbeFate::lost : ProbeFate::undecided;
      ++(lost ? summary.lost_count : summary.undecided_count);
    }
  }
  analysis.episodes = find_episodes(evidence, order, analysis.fates);
  return analysis;
}

}  // namespace stallscope::diagnose
