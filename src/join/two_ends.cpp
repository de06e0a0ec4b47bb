// SPDX-License-Identifier: Apache-2.0
#include "join/two_ends.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/units.h"

namespace stallscope::join {
namespace {

using base::Error;
using base::Result;
using evidence::Evidence;
using evidence::PacketLeg;
using evidence::PacketRecord;
using evidence::ProbeRecord;

/// The sequence of an echo request has 16 bits, so a node that began to record later counts from another multiple of this.
constexpr std::int64_t wire_sequences = 65'536;
/// Clocks that contradict each other by more than this are those of two sessions: a stall is not placed to the millisecond then.
constexpr std::int64_t largest_contradiction_ns = base::ns_per_ms;
constexpr const char* same_session_hint =
    "Record both at the same time with the same number: on the node 'stallscope diagnose --echo-id 4711', at the other end "
    "'stallscope diagnose TARGET --echo-id 4711'.";

using ProbeIndex = std::unordered_map<std::int64_t, std::size_t>;

ProbeIndex by_sequence(const std::vector<ProbeRecord>& probes) {
  ProbeIndex index;
  index.reserve(probes.size());
  for (std::size_t i = 0; i < probes.size(); ++i) {
    index.emplace(probes[i].sequence, i);
  }
  return index;
}

/// The first device that saw the request of each probe is where it came in; later ones are further inside.
std::unordered_map<std::int64_t, std::size_t> arrivals(const std::vector<PacketRecord>& packets) {
  std::unordered_map<std::int64_t, std::size_t> first;
  for (std::size_t i = 0; i < packets.size(); ++i) {
    if (packets[i].leg != PacketLeg::request) {
      continue;
    }
    const auto [known, is_new] = first.emplace(packets[i].sequence, i);
    if (!is_new && packets[i].received_ns < packets[known->second].received_ns) {
      known->second = i;
    }
  }
  return first;
}

std::int64_t came_in_ns(const PacketRecord& packet) {
  return packet.enqueued_ns != 0 ? packet.enqueued_ns : packet.received_ns;
}

/// What to add to the node's sequences. The wall clocks decide between multiples that lie minutes apart.
std::optional<std::int64_t> sequence_shift(const Evidence& prober, const Evidence& node, const ProbeIndex& probes) {
  const std::int64_t wall_difference_ns = prober.run.realtime_offset_ns - node.run.realtime_offset_ns;
  std::optional<std::int64_t> best;
  std::int64_t best_miss_ns = std::numeric_limits<std::int64_t>::max();
  for (const PacketRecord& packet : node.packets) {
    if (packet.leg != PacketLeg::request) {
      continue;
    }
    const std::int64_t low_bits = packet.sequence % wire_sequences;
    const std::int64_t last = prober.probes.back().sequence;
    for (std::int64_t sequence = low_bits; sequence <= last; sequence += wire_sequences) {
      const auto probe = probes.find(sequence);
      if (probe == probes.end()) {
        continue;
      }
      const std::int64_t miss_ns = std::abs(came_in_ns(packet) - prober.probes[probe->second].sent_ns - wall_difference_ns);
      if (miss_ns < best_miss_ns) {
        best_miss_ns = miss_ns;
        best = sequence - packet.sequence;
      }
    }
    if (best) {
      return best;
    }
  }
  return best;
}

std::vector<ClockBound> bounds_of(const Evidence& prober, const Evidence& node, const ProbeIndex& probes) {
  std::vector<ClockBound> bounds;
  for (const auto& [sequence, packet_index] : arrivals(node.packets)) {
    const auto found = probes.find(sequence);
    if (found == probes.end()) {
      continue;
    }
    const ProbeRecord& probe = prober.probes[found->second];
    const PacketRecord& packet = node.packets[packet_index];
    if (probe.received_ns == ProbeRecord::not_received) {
      continue;
    }
    bounds.push_back({probe.sent_ns, packet.received_ns - probe.received_ns, came_in_ns(packet) - probe.sent_ns});
  }
  // As they came: the fit's result must not depend on a hash.
  std::sort(bounds.begin(), bounds.end(), [](const ClockBound& a, const ClockBound& b) { return a.at_ns < b.at_ns; });
  return bounds;
}

ProbeRecord translated(ProbeRecord probe, const ClockFit& clock) {
  probe.intended_ns = clock.to_far(probe.intended_ns);
  probe.sent_ns = clock.to_far(probe.sent_ns);
  if (probe.received_ns != ProbeRecord::not_received) {
    probe.received_ns = clock.to_far(probe.received_ns);
  }
  if (probe.transmitted_ns != ProbeRecord::unknown) {
    probe.transmitted_ns = clock.to_far(probe.transmitted_ns);
  }
  return probe;
}

void take_run(evidence::RunRecord& node, const evidence::RunRecord& prober) {
  node.target = prober.target;
  node.target_address = prober.target_address;
  node.probe_netns = prober.probe_netns;
  node.probe_interval_ns = prober.probe_interval_ns;
  // What was recorded here is what held the target's packets.
  node.target_is_local = true;
}

}  // namespace

Result<TwoEnds> join_two_ends(const Evidence& prober, Evidence node) {
  if (prober.probes.empty()) {
    return Error{"join", "the prober's bundle", "it holds no probes",
                 "The bundle of the probing host comes first, the node's second."};
  }
  if (!node.probes.empty()) {
    return Error{"join", "the node's bundle", "it holds probes of its own",
                 "The bundle of the probing host comes first, the node's second."};
  }
  if (!prober.only_echoes()) {
    return Error{"join", "the prober's bundle", "its probes are not all ICMP echoes, which are what a node follows",
                 same_session_hint};
  }
  const ProbeIndex probes = by_sequence(prober.probes);
  const std::optional<std::int64_t> shift = sequence_shift(prober, node, probes);
  if (!shift) {
    return Error{"join", "the two bundles", "the node saw none of the prober's packets", same_session_hint};
  }
  for (PacketRecord& packet : node.packets) {
    packet.sequence += *shift;
  }
  const std::optional<ClockFit> clock = fit_clocks(bounds_of(prober, node, probes));
  if (!clock) {
    return Error{"join", "the two bundles", "no probe that the node saw was answered", same_session_hint};
  }
  if (clock->uncertainty_ns > largest_contradiction_ns) {
    return Error{"join", "the two bundles",
                 "their clocks differ by " + base::format_duration(2 * clock->uncertainty_ns) + " more or less from probe to probe",
                 same_session_hint};
  }

  TwoEnds joined;
  joined.clock = *clock;
  for (const ProbeRecord& probe : prober.probes) {
    const ProbeRecord here = translated(probe, *clock);
    // Before and after, nobody watched the node.
    if (here.intended_ns >= node.run.start_ns && here.intended_ns <= node.run.end_ns) {
      node.probes.push_back(here);
    }
  }
  std::unordered_map<std::int64_t, std::size_t> seen = arrivals(node.packets);
  joined.probe_count = static_cast<std::int64_t>(node.probes.size());
  joined.seen_count = std::count_if(node.probes.begin(), node.probes.end(),
                                    [&](const ProbeRecord& probe) { return seen.contains(probe.sequence); });
  take_run(node.run, prober.run);
  node.flows = prober.flows;
  for (const evidence::GapRecord& gap : prober.gaps) {
    node.gaps.push_back({"at the prober: " + gap.what, gap.reason, gap.consequence});
  }
  for (const evidence::LossRecord& loss : prober.losses) {
    node.losses.push_back({"at the prober: " + loss.where, loss.count});
  }
  if (!prober.waits.empty()) {
    node.gaps.push_back({"waits at the prober", "this report is of the node",
                         "A reply may have waited on its way back into the probing host; a report of that bundle alone tells."});
  }
  joined.evidence = std::move(node);
  return joined;
}

}  // namespace stallscope::join
