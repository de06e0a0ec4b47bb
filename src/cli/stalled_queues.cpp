// SPDX-License-Identifier: Apache-2.0
#include "cli/stalled_queues.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <utility>

#include "base/text.h"
#include "base/units.h"
#include "cli/flow_names.h"
#include "report/layout.h"

namespace stallscope::cli {
namespace {

using diagnose::TargetShape;
using rss::PacketKind;

/// Of the packets that a flow sent during a stall, at most one in so many passes where the flow's queue stood still (as the shape
/// of stalls is judged: docs/design/0005-shape-statistics.md).
constexpr std::int64_t one_passes_of = 10;

PacketKind packet_kind_of(const evidence::FlowRecord& flow, bool v6) {
  switch (flow.kind) {
    case evidence::ProbeKind::icmp_echo:
      return v6 ? PacketKind::other6 : PacketKind::other4;
    case evidence::ProbeKind::udp_echo:
      return v6 ? PacketKind::udp6 : PacketKind::udp4;
    case evidence::ProbeKind::tcp_syn:
    case evidence::ProbeKind::tcp_connect:
    case evidence::ProbeKind::http_get:
    case evidence::ProbeKind::tcp_data:
      break;
  }
  return v6 ? PacketKind::tcp6 : PacketKind::tcp4;
}

/// As `receiver` sees its packets. Nothing where an address is not known.
std::optional<rss::Flow> received_flow(const evidence::FlowRecord& flow, const std::string& receiver) {
  const bool v6 = flow.target_address.find(':') != std::string::npos;
  rss::Flow asked;
  asked.kind = packet_kind_of(flow, v6);
  const int family = v6 ? AF_INET6 : AF_INET;
  if (::inet_pton(family, flow.source_address.c_str(), asked.source.data()) != 1 ||
      ::inet_pton(family, flow.target_address.c_str(), asked.destination.data()) != 1) {
    return std::nullopt;
  }
  asked.source_port = flow.source_port;
  asked.destination_port = flow.target_port;
  return flow.target_address == receiver ? asked : asked.reply();
}

rss::StallSeen stall_seen(const shape::StallEpisode& episode) {
  rss::StallSeen seen;
  for (const shape::FlowPart& part : episode.stalled_flows) {
    if (one_passes_of * part.passed_count <= part.held_count + part.passed_count) {
      seen.stalled.push_back(part.flow);
    }
  }
  for (const shape::FlowPart& part : episode.passing_flows) {
    seen.passing.push_back(part.flow);
  }
  return seen;
}

rss::LearnedQueues learn(const shape::Analysis& analysis, bool single_stall_counts) {
  std::vector<rss::StallSeen> stalls;
  for (const shape::StallEpisode& episode : analysis.episodes) {
    if (episode.cause == shape::Cause::receive_queue) {
      stalls.push_back(stall_seen(episode));
    }
  }
  rss::LearnedQueues learned = rss::learn_queues(stalls);
  if (single_stall_counts && learned.groups.empty() && stalls.size() == 1) {
    // That these flows were held and the others not is no coincidence, else the stall would not be one of a queue.
    learned.groups.push_back({stalls.front().stalled, 1});
    learned.unclear.clear();
  }
  return learned;
}

std::optional<QueuesHeld> find_queues_held(const TargetShape& host, const std::vector<std::optional<std::uint32_t>>& flow_queues) {
  std::vector<shape::TimedPacket> packets;
  for (shape::TimedPacket packet : host.packets) {
    if (const auto queue = flow_queues[packet.flow]) {
      packet.flow = *queue;
      packets.push_back(packet);
    }
  }
  const shape::Verdict verdict = shape::analyse(packets).verdict;
  if (verdict.cause != shape::Cause::receive_queue) {
    return std::nullopt;
  }
  return QueuesHeld{verdict.stalled_flows, verdict.passing_flows, verdict.why};
}

QueuePrediction predict_groups(const TargetShape& host, const rss::LearnedQueues& learned, const rss::QueueMap& key) {
  QueuePrediction prediction;
  for (const evidence::FlowRecord& flow : host.flows) {
    const std::optional<rss::Flow> received = received_flow(flow, host.address);
    prediction.flow_queues.push_back(received ? key.queue_of(*received) : std::nullopt);
  }
  std::vector<rss::Comparison> comparisons;
  const auto compare = [&](const std::vector<std::uint32_t>& flows, std::size_t place) {
    for (const std::uint32_t flow : flows) {
      if (const auto queue = prediction.flow_queues[flow]) {
        comparisons.push_back({*queue, static_cast<std::int32_t>(place)});
      } else {
        ++prediction.unpredicted_count;
      }
    }
  };
  for (std::size_t group = 0; group < learned.groups.size(); ++group) {
    compare(learned.groups[group].flows, group);
  }
  // Wherever flows are that never stalled, it is a place of its own.
  compare(learned.never_stalled, learned.groups.size());
  prediction.check = rss::check_prediction(comparisons);
  prediction.queues.resize(learned.groups.size());
  prediction.agreeing_counts.resize(learned.groups.size(), 0);
  for (const auto& [queue, place] : prediction.check.place_of_queue) {
    if (static_cast<std::size_t>(place) < learned.groups.size()) {
      prediction.queues[static_cast<std::size_t>(place)].push_back(queue);
    }
  }
  for (const rss::Comparison& comparison : comparisons) {
    const auto place = static_cast<std::size_t>(comparison.observed_place);
    if (place < learned.groups.size() &&
        prediction.check.place_of_queue.at(comparison.predicted_queue) == comparison.observed_place) {
      ++prediction.agreeing_counts[place];
    }
  }
  return prediction;
}

std::string queue_numbers_text(const std::vector<std::uint32_t>& queues) {
  std::vector<std::int32_t> numbers(queues.begin(), queues.end());
  return fmt::format("queue{} {}", queues.size() == 1 ? "" : "s", rss::cpu_list(numbers));
}

/// "all of queue 3", "5 of 6 of queue 3"
std::string group_queues_text(const QueuePrediction& prediction, std::size_t group, std::size_t flow_count) {
  if (prediction.queues[group].empty()) {
    return "of no one queue";
  }
  const std::int64_t agreeing = prediction.agreeing_counts[group];
  return agreeing == static_cast<std::int64_t>(flow_count)
             ? fmt::format("all of {}", queue_numbers_text(prediction.queues[group]))
             : fmt::format("{} of {} of {}", agreeing, flow_count, queue_numbers_text(prediction.queues[group]));
}

/// Whether each group of flows has its queues.
bool names_groups(const StalledQueues& host) {
  return host.prediction && host.prediction->check.agreement == rss::Agreement::confirmed;
}

std::string verdict_sentence(const StalledQueues& host) {
  const std::vector<rss::QueueGroup>& groups = host.learned.groups;
  const rss::PredictionCheck& check = host.prediction->check;
  if (!names_groups(host)) {
    const bool refuted = check.agreement == rss::Agreement::refuted;
    return fmt::format("No queue is named: {}.{}", check.why,
                       refuted ? " Key, number of queues, hashed fields or host are not those of the queue that stood "
                                 "still, or a filter steers packets past the table."
                               : "");
  }
  if (groups.size() == 1) {
    return fmt::format("The stalled flows are {}: {}.", group_queues_text(*host.prediction, 0, groups[0].flows.size()), check.why);
  }
  return fmt::format("Each group of stalled flows has its queues: {}.", check.why);
}

std::string held_sentence(const QueuesHeld& held) {
  return fmt::format("The packets that stalled are of {}, and those of {} passed: taking each queue for a flow, {}.",
                     queue_numbers_text(held.stalled), queue_numbers_text(held.passing), held.why);
}

}  // namespace

bool StalledQueues::names_queues() const {
  return names_groups(*this) || (prediction && prediction->queues_held);
}

std::optional<TargetShape> received_by(const evidence::Evidence& evidence, const std::string& host) {
  std::unordered_map<std::int64_t, const evidence::FlowRecord*> flows;
  for (const evidence::FlowRecord& flow : evidence.flows) {
    if (flow.target_address == host || flow.source_address == host) {
      flows.emplace(flow.id, &flow);
    }
  }
  diagnose::ShapeCollector collector([&](std::int64_t id) {
    evidence::FlowRecord flow = *flows.at(id);
    flow.target_address = host;
    return flow;
  });
  for (const evidence::ProbeRecord& probe : evidence.probes) {
    if (flows.contains(probe.flow_id)) {
      collector.add(probe);
    }
  }
  std::vector<TargetShape> shapes = collector.finish(evidence.run.end_ns);
  if (shapes.empty()) {
    return std::nullopt;
  }
  for (evidence::FlowRecord& flow : shapes.front().flows) {
    flow = *flows.at(flow.id);
  }
  return std::move(shapes.front());
}

StalledQueues find_stalled_queues(const TargetShape& host, const std::optional<rss::QueueMap>& key) {
  StalledQueues found;
  found.address = host.address;
  found.names = flow_names(host.flows);
  found.learned = learn(host.analysis, key.has_value());
  found.one_queue_may_have_stalled =
      std::any_of(host.analysis.episodes.begin(), host.analysis.episodes.end(), [](const shape::StallEpisode& episode) {
        return episode.cause == shape::Cause::receive_queue || episode.cause == shape::Cause::unknown;
      });
  if (key) {
    found.prediction = predict_groups(host, found.learned, *key);
    if (found.learned.groups.empty()) {
      found.prediction->queues_held = find_queues_held(host, found.prediction->flow_queues);
    }
  }
  return found;
}

std::string render_stalled_queues(const StalledQueues& host, std::size_t width) {
  const rss::LearnedQueues& learned = host.learned;
  const bool queues_held = host.prediction && host.prediction->queues_held;
  const bool nothing_named = learned.groups.empty() && !queues_held;
  if (nothing_named && !(host.prediction && host.one_queue_may_have_stalled)) {
    return {};
  }
  report::Page page(width, false);
  const std::string address = base::printable(host.address);
  const std::string head =
      nothing_named ? fmt::format(
                          "Receive queues of {} by the hash key. No queue is named: no flow was seen in enough stalls, and "
                          "none of the predicted queues stood still as a whole while others passed.",
                          address)
      : queues_held ? fmt::format("Receive queues of {} by the hash key. {}", address, held_sentence(*host.prediction->queues_held))
      : host.prediction
          ? fmt::format("Receive queues of {} by the hash key. {}", address, verdict_sentence(host))
          : fmt::format("Receive queues of {}: flows that stalled together and not without one another share one", address);
  for (const std::string& line : report::fill(head, width)) {
    page.line(line);
  }
  constexpr std::size_t label_indent = 2;
  constexpr std::size_t text_indent = 12;
  std::vector<std::uint32_t> all;
  for (const rss::QueueGroup& group : learned.groups) {
    all.insert(all.end(), group.flows.begin(), group.flows.end());
  }
  for (const std::vector<std::uint32_t>* const others : {&learned.never_stalled, &learned.unclear}) {
    all.insert(all.end(), others->begin(), others->end());
  }
  std::sort(all.begin(), all.end());
  const auto add = [&](std::string_view label, const std::vector<std::uint32_t>& flows, const std::string& also) {
    std::vector<std::uint32_t> others;
    std::set_difference(all.begin(), all.end(), flows.begin(), flows.end(), std::back_inserter(others));
    page.labelled(label, label_indent, text_indent,
                  report::fill(report::flows_text(flows, others, host.names) + also, page.room(text_indent)));
  };
  if (queues_held || nothing_named) {
    return page.take();
  }
  for (std::size_t index = 0; index < learned.groups.size(); ++index) {
    const rss::QueueGroup& group = learned.groups[index];
    add(fmt::format("group {}", index + 1), group.flows,
        fmt::format(", in {} stall{}{}", base::format_count(group.stall_count), group.stall_count == 1 ? "" : "s",
                    names_groups(host) ? ", " + group_queues_text(*host.prediction, index, group.flows.size()) : ""));
  }
  if (!learned.never_stalled.empty()) {
    add("never", learned.never_stalled, "");
  }
  if (!learned.unclear.empty()) {
    add("unclear", learned.unclear, "");
  }
  return page.take();
}

report::Json stalled_queues_json(const StalledQueues& host) {
  report::Json groups = report::Json::array();
  for (std::size_t index = 0; index < host.learned.groups.size(); ++index) {
    const rss::QueueGroup& group = host.learned.groups[index];
    groups.push_back({{"flows", group.flows},
                      {"stalls", group.stall_count},
                      {"queues", names_groups(host) ? report::Json(host.prediction->queues[index]) : report::Json(nullptr)}});
  }
  report::Json prediction = nullptr;
  if (host.prediction) {
    const rss::PredictionCheck& check = host.prediction->check;
    prediction = {{"agreement", rss::agreement_id(check.agreement)},
                  {"why", check.why},
                  {"compared", check.compared_count},
                  {"agreeing", check.agreeing_count},
                  {"unpredicted", host.prediction->unpredicted_count},
                  {"chance", check.chance}};
    if (const auto& held = host.prediction->queues_held) {
      prediction["queues_held"] = {{"stalled", held->stalled}, {"passing", held->passing}, {"why", held->why}};
    }
  }
  report::Json names = report::Json::array();
  for (const report::FlowName& name : host.names) {
    names.push_back({{"protocol", base::printable(name.protocol)}, {"detail", base::printable(name.detail)}});
  }
  return {{"address", base::printable(host.address)},    {"flows", std::move(names)},       {"groups", std::move(groups)},
          {"never_stalled", host.learned.never_stalled}, {"unclear", host.learned.unclear}, {"prediction", std::move(prediction)}};
}

}  // namespace stallscope::cli
