// SPDX-License-Identifier: Apache-2.0
#include "cli/capture_conclusion.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "base/units.h"
#include "cli/app.h"
#include "diagnose/diagnose.h"
#include "diagnose/target_shapes.h"
#include "shape/lateness.h"

namespace stallscope::cli {
namespace {

using capture::Observation;

void add_capture_gaps(const ReadCapture& read, evidence::Evidence& evidence) {
  const auto gap = [&](std::string what, std::string reason, std::string consequence) {
    evidence.gaps.push_back({std::move(what), std::move(reason), std::move(consequence)});
  };
  if (!read.trouble.damage.empty()) {
    gap("the rest of " + read.name, read.trouble.damage, "what comes after that place was not read");
  }
  if (read.trouble.truncated) {
    gap("the end of " + read.name, "its last packet is cut off", "requests at the end may seem unanswered");
  }
  if (read.trouble.skipped_count > 0) {
    gap(fmt::format("{} packets of {}", base::format_count(read.trouble.skipped_count), read.name),
        "they have no time, or no interface that is described", "they were left out");
  }
  if (read.findings.left_out_count > 0) {
    gap(fmt::format("{} exchanges of {}", base::format_count(read.findings.left_out_count), read.name),
        "there are more than fit in memory", "stalls in the later part may be missing");
  }
  if (read.findings.thinned_count > 0) {
    gap(fmt::format("{} prompt exchanges of {}", base::format_count(read.findings.thinned_count), read.name),
        "an even sample stands for them, to bound the memory",
        "in a stall that lasted for more exchanges than are looked back at (16,384 whole, 131,072 in part), which other flows "
        "passed is known in part only: 'all queues' may then be one");
  }
  if (read.findings.counts.forgotten_count > 0) {
    gap(fmt::format("what became of {} requests in {}", base::format_count(read.findings.counts.forgotten_count), read.name),
        "more were unanswered at once than fit in memory", "they count as unanswered");
  }
  if (read.findings.counts.impossible_count > 0) {
    gap(fmt::format("the RTT of {} answers in {}", base::format_count(read.findings.counts.impossible_count), read.name),
        "they are older than their requests", "they were left out");
  }
  if (read.findings.counts.forgotten_connection_count > 0) {
    gap(fmt::format("the data of {} connections in {}", base::format_count(read.findings.counts.forgotten_connection_count),
                    read.name),
        "more were open at once than fit in memory", "RTTs of theirs are missing");
  }
  if (read.trouble.dropped_count > 0) {
    evidence.losses.push_back({"capture " + read.name, read.trouble.dropped_count});
  }
}

PlaceSums sum_places(const std::vector<Observation>& near, const capture::TwoPlaces& places, const diagnose::Diagnosis& diagnosis) {
  PlaceSums sums;
  for (std::size_t at = 0; at < near.size(); ++at) {
    if (diagnosis.fates[at] == diagnose::ProbeFate::late && places.far[at]) {
      ++sums.late_count;
      sums.before_ns += std::max<std::int64_t>(places.far[at]->sent_ns - near[at].sent_ns, 0);
      const std::int64_t queued_ns = std::min(places.far[at]->queued_ns(), places.far[at]->rtt_ns());
      sums.queued_ns += queued_ns;
      sums.inside_ns += places.far[at]->rtt_ns() - queued_ns;
      sums.after_ns += std::max<std::int64_t>(near[at].answered_ns - places.far[at]->answered_ns, 0);
    }
  }
  return sums;
}

PassageSums sum_passages(const std::vector<Observation>& near, const std::optional<capture::TwoPlaces>& places,
                         const diagnose::Diagnosis& diagnosis) {
  PassageSums sums;
  for (std::size_t at = 0; at < near.size(); ++at) {
    const Observation* const seen = !places ? &near[at] : places->far[at] ? &*places->far[at] : nullptr;
    if (diagnosis.fates[at] != diagnose::ProbeFate::late || seen == nullptr || !seen->passed()) {
      continue;
    }
    ++sums.late_count;
    sums.rtt_ns += seen->rtt_ns();
    sums.request_ns += seen->request_passed_us * base::ns_per_us;
    sums.answer_ns += seen->answer_passed_us * base::ns_per_us;
  }
  return sums;
}

/// What is usual, by kind of exchange and host.
class UsualRtts {
 public:
  explicit UsualRtts(const std::vector<Observation>& exchanges) {
    std::map<Key, std::vector<std::int64_t>> rtts;
    for (const Observation& exchange : exchanges) {
      if (exchange.answered()) {
        rtts[key_of(exchange)].push_back(exchange.rtt_ns());
      }
    }
    for (auto& [key, values] : rtts) {
      usual_ns_[key] = shape::measure_baseline(values).rtt_ns;
    }
  }
  [[nodiscard]] std::int64_t of(const Observation& exchange) const { return usual_ns_.at(key_of(exchange)); }

 private:
  using Key = std::tuple<capture::ExchangeKind, std::array<std::uint8_t, 16>, bool>;
  static Key key_of(const Observation& exchange) { return {exchange.key.kind, exchange.key.far, exchange.key.v6}; }
  std::map<Key, std::int64_t> usual_ns_;
};

/// The episodes of the flows, by FlowRecord::id.
class EpisodesOfFlows {
 public:
  explicit EpisodesOfFlows(const ProbeShapes& shapes) {
    for (const diagnose::TargetShape& target : shapes.targets) {
      for (std::size_t flow = 0; flow < target.flows.size(); ++flow) {
        places_.emplace(target.flows[flow].id, std::pair(&target, static_cast<std::uint32_t>(flow)));
      }
    }
  }

  void find(const evidence::ProbeRecord& probe, HeldExchange& held) const {
    const auto place = places_.find(probe.flow_id);
    if (place == places_.end()) {
      return;
    }
    held.target = place->second.first;
    const std::vector<shape::StallEpisode>& episodes = held.target->analysis.episodes;
    for (std::size_t at = 0; at < episodes.size(); ++at) {
      const shape::StallEpisode& episode = episodes[at];
      if (probe.received_ns < episode.release_ns || probe.received_ns > episode.drained_ns) {
        continue;
      }
      const auto* const part = std::lower_bound(
          episode.stalled_flows.data(), episode.stalled_flows.data() + episode.stalled_flows.size(), place->second.second,
          [](const shape::FlowPart& flow, std::uint32_t number) { return flow.flow < number; });
      if (part != episode.stalled_flows.data() + episode.stalled_flows.size() && part->flow == place->second.second &&
          part->held_count > 0) {
        held.episode = at;
        return;
      }
    }
  }

 private:
  std::unordered_map<std::int64_t, std::pair<const diagnose::TargetShape*, std::uint32_t>> places_;
};

std::vector<StalledQueues> find_queues(const CaptureOutcome& outcome, const QueueQuestion& question) {
  std::vector<StalledQueues> queues;
  const auto add = [&](const diagnose::TargetShape& host) {
    if (host.flows.size() > 1 && host.analysis.verdict.cause != shape::Cause::nothing) {
      queues.push_back(find_stalled_queues(host, question.key));
    }
  };
  if (question.host.empty()) {
    std::for_each(outcome.shapes.targets.begin(), outcome.shapes.targets.end(), add);
  } else if (const auto host = received_by(outcome.evidence, question.host)) {
    add(*host);
  }
  return queues;
}

}  // namespace

CaptureOutcome conclude(const std::vector<ReadCapture>& reads, const QueueQuestion& question) {
  CaptureOutcome outcome;
  const ReadCapture& near = reads.front();
  if (reads.size() > 1) {
    outcome.places = capture::match(near.findings.exchanges, reads[1].findings.exchanges);
  }
  outcome.evidence = capture::make_evidence(near.findings.exchanges, near.findings.counts, outcome.places);
  outcome.evidence.run.tool_version = std::string(version());
  const bool interrupted = std::any_of(reads.begin(), reads.end(), [](const ReadCapture& read) { return read.interrupted; });
  outcome.evidence.run.state = interrupted ? "interrupted" : "finished";
  for (const ReadCapture& read : reads) {
    add_capture_gaps(read, outcome.evidence);
  }
  outcome.diagnosis = diagnose::diagnose(outcome.evidence);
  outcome.shapes.targets = diagnose::shapes_of(outcome.evidence);
  outcome.shapes.realtime_offset_ns = outcome.evidence.run.realtime_offset_ns;
  if (outcome.places) {
    outcome.sums = sum_places(near.findings.exchanges, *outcome.places, outcome.diagnosis);
  }
  outcome.passages = sum_passages(near.findings.exchanges, outcome.places, outcome.diagnosis);
  outcome.queues = find_queues(outcome, question);
  return outcome;
}

std::vector<HeldExchange> held_exchanges(const ReadCapture& read, const CaptureOutcome& outcome) {
  const std::vector<Observation>& exchanges = read.findings.exchanges;
  const UsualRtts usual(exchanges);
  const EpisodesOfFlows episodes(outcome.shapes);
  std::vector<HeldExchange> all;
  for (std::size_t at = 0; at < exchanges.size(); ++at) {
    if (outcome.diagnosis.fates[at] == diagnose::ProbeFate::late) {
      HeldExchange held;
      held.exchange = at;
      held.usual_ns = usual.of(exchanges[at]);
      episodes.find(outcome.evidence.probes[at], held);
      all.push_back(held);
    }
  }
  return all;
}

}  // namespace stallscope::cli
