// SPDX-License-Identifier: Apache-2.0
#include "diagnose/target_shapes.h"

#include <fmt/format.h>

#include <algorithm>

namespace stallscope::diagnose {
namespace {

/// More targets than this with a shape are told by the JSON of `probe`.
constexpr std::size_t most_notes = 3;

/// Finds flows by their ids, which mostly count up from 1 as the flows do.
class FlowsById {
 public:
  explicit FlowsById(const std::vector<evidence::FlowRecord>& flows) : flows_(flows) {
    for (std::size_t at = 0; at < flows.size(); ++at) {
      if (flows[at].id != static_cast<std::int64_t>(at) + 1) {
        others_.emplace(flows[at].id, at);
      }
    }
  }

  [[nodiscard]] const evidence::FlowRecord* find(std::int64_t id) const {
    if (const auto at = static_cast<std::size_t>(id) - 1; at < flows_.size() && flows_[at].id == id) {
      return &flows_[at];
    }
    const auto other = others_.find(id);
    return other == others_.end() ? nullptr : &flows_[other->second];
  }

 private:
  const std::vector<evidence::FlowRecord>& flows_;
  std::unordered_map<std::int64_t, std::size_t> others_;
};

std::int64_t affected_count(const TargetShape& target) {
  return target.analysis.late_count + target.analysis.own_late_count + target.analysis.lost_count;
}

}  // namespace

ShapeCollector::Place& ShapeCollector::place_of(std::int64_t flow_id) {
  if (flow_id < 0 || flow_id >= most_listed) {
    return other_places_[flow_id];
  }
  const auto at = static_cast<std::size_t>(flow_id);
  if (at >= listed_places_.size()) {
    listed_places_.resize(std::max(at + 1, 2 * listed_places_.size()));
  }
  return listed_places_[at];
}

ShapeCollector::Place ShapeCollector::new_place(std::int64_t flow_id) {
  evidence::FlowRecord flow = lookup_(flow_id);
  const auto [target, added] = targets_by_address_.try_emplace(flow.target_address, static_cast<std::uint32_t>(targets_.size()));
  if (added) {
    targets_.emplace_back().address = flow.target_address;
  }
  TargetShape& shape = targets_[target->second];
  const Place place{target->second, static_cast<std::uint32_t>(shape.flows.size())};
  shape.flows.push_back(std::move(flow));
  return place;
}

void ShapeCollector::add(const evidence::ProbeRecord& probe) {
  if (packet_count_ >= most_packets) {
    ++left_out_count_;
    return;
  }
  Place& place = place_of(probe.flow_id);
  if (place.target == Place::unknown) {
    place = new_place(probe.flow_id);
  }
  ++packet_count_;
  shape::TimedPacket packet;
  packet.flow = place.flow;
  packet.sequence = probe.sequence;
  packet.intended_ns = probe.intended_ns;
  // When it left for the driver, where that is known: what it waited for in this host's own stack is the sender's.
  packet.sent_ns = probe.transmitted_ns == evidence::ProbeRecord::unknown ? probe.sent_ns : probe.transmitted_ns;
  packet.answered_ns = probe.answered() ? probe.received_ns : shape::TimedPacket::not_answered;
  targets_[place.target].packets.push_back(packet);
}

std::vector<TargetShape> ShapeCollector::finish(std::int64_t end_ns) {
  for (TargetShape& target : targets_) {
    shape::Options options;
    options.end_ns = end_ns;
    target.analysis = shape::analyse(target.packets, options);
  }
  std::stable_sort(targets_.begin(), targets_.end(),
                   [](const TargetShape& a, const TargetShape& b) { return affected_count(a) > affected_count(b); });
  return std::move(targets_);
}

std::vector<TargetShape> shapes_of(const evidence::Evidence& evidence) {
  const FlowsById flows(evidence.flows);
  ShapeCollector collector([&](std::int64_t id) {
    const evidence::FlowRecord* const known = flows.find(id);
    evidence::FlowRecord unrecorded;
    unrecorded.target_address = evidence.run.target_address;
    return known == nullptr ? unrecorded : *known;
  });
  for (const evidence::ProbeRecord& probe : evidence.probes) {
    collector.add(probe);
  }
  return collector.finish(evidence.run.end_ns);
}

std::vector<std::string> shape_notes(const evidence::Evidence& evidence) {
  std::vector<std::string> notes;
  if (evidence.flows.size() < 2) {
    return notes;
  }
  for (const TargetShape& target : shapes_of(evidence)) {
    const shape::Verdict& verdict = target.analysis.verdict;
    if (target.flows.size() < 2 || verdict.cause == shape::Cause::nothing || notes.size() == most_notes) {
      continue;
    }
    notes.push_back(fmt::format(
        "By the times of {} flows, late and lost probes to {} point to {}: {}.", target.flows.size(), target.address,
        verdict.cause == shape::Cause::unknown ? "nothing for certain" : shape::cause_title(verdict.cause), verdict.why));
  }
  return notes;
}

}  // namespace stallscope::diagnose
