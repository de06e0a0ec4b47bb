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

using base::ClockBound;
using base::ClockFit;
using base::Error;
using base::Result;
using evidence::Evidence;
using evidence::PacketLeg;
using evidence::PacketRecord;
using evidence::ProbeRecord;

/// The sequence of an echo request has 16 bits, and of a SYN's mark as many are kept, so a node that began to record later counts
/// from another multiple of this.
constexpr std::int64_t wire_sequences = 65'536;
/// A day at the highest rate there is (10,000/s) has 13,184 times as many.
constexpr std::int64_t last_wire_wraps = 16'384;
/// Clocks that contradict each other by more than this are those of two sessions: a stall is not placed to the millisecond then.
constexpr std::int64_t largest_contradiction_ns = base::ns_per_ms;
constexpr const char* same_session_hint =
    "Record both at the same time with the same number: on the node 'stallscope diagnose --echo-id 4711', at the other end "
    "'stallscope diagnose TARGET --echo-id 4711'; both with '--tcp PORT', or both without.";

// A bundle may come from anybody. What lies beyond these is left out, so that differences and sums of what remains cannot overflow.
constexpr std::int64_t latest_ns = std::int64_t{1} << 60U;
constexpr std::int64_t last_sequence = std::int64_t{1} << 48U;

bool is_time(std::int64_t time_ns) {
  return time_ns >= 0 && time_ns < latest_ns;
}

bool is_usable(const ProbeRecord& probe) {
  return probe.sequence >= 0 && probe.sequence < last_sequence && is_time(probe.intended_ns) && is_time(probe.sent_ns) &&
         (probe.received_ns == ProbeRecord::not_received || is_time(probe.received_ns)) &&
         (probe.transmitted_ns == ProbeRecord::unknown || is_time(probe.transmitted_ns));
}

bool is_usable(const PacketRecord& packet) {
  return packet.sequence >= 0 && packet.sequence < last_sequence && is_time(packet.enqueued_ns) && is_time(packet.received_ns);
}

std::int64_t wall_offset_ns(const evidence::RunRecord& run) {
  return std::clamp(run.realtime_offset_ns, -latest_ns, 2 * latest_ns);
}

/// A node looks for one kind of probes.
bool is_followed(const Evidence& prober) {
  return prober.only_echoes() || std::all_of(prober.flows.begin(), prober.flows.end(), [](const evidence::FlowRecord& flow) {
           return flow.kind == evidence::ProbeKind::tcp_syn;
         });
}

using ProbeIndex = std::unordered_map<std::int64_t, std::size_t>;

ProbeIndex by_sequence(const std::vector<ProbeRecord>& probes) {
  ProbeIndex index;
  index.reserve(probes.size());
  for (std::size_t i = 0; i < probes.size(); ++i) {
    if (is_usable(probes[i])) {
      index.emplace(probes[i].sequence, i);
    }
  }
  return index;
}

/// The first device that saw the request of each probe is where it came in; later ones are further inside.
using Arrivals = std::unordered_map<std::int64_t, std::size_t>;
Arrivals arrivals(const std::vector<PacketRecord>& packets) {
  Arrivals first;
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
  const std::int64_t wall_difference_ns = wall_offset_ns(prober.run) - wall_offset_ns(node.run);
  std::optional<std::int64_t> best;
  std::int64_t best_miss_ns = std::numeric_limits<std::int64_t>::max();
  // Of so many probes at most: a bundle with one of an absurd sequence must not make this long.
  const std::int64_t last = std::min(prober.probes.back().sequence, last_wire_wraps * wire_sequences);
  for (const PacketRecord& packet : node.packets) {
    if (packet.leg != PacketLeg::request) {
      continue;
    }
    const std::int64_t low_bits = packet.sequence % wire_sequences;
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

std::vector<ClockBound> bounds_of(const Evidence& prober, const Evidence& node, const ProbeIndex& probes, const Arrivals& arrived) {
  std::vector<ClockBound> bounds;
  for (const auto& [sequence, packet_index] : arrived) {
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

/// `probed_until_ns`: by the node's clock.
void take_run(evidence::RunRecord& node, const evidence::RunRecord& prober, std::int64_t probed_until_ns) {
  // A node is stopped once the prober is done: then its recording is as whole as the prober's.
  if (node.state == "interrupted" && node.end_ns >= probed_until_ns) {
    node.state = prober.state;
    node.planned_duration_ns = prober.planned_duration_ns;
  }
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
  if (!is_followed(prober)) {
    return Error{"join", "the prober's bundle", "its probes are not all ICMP echoes or all SYNs, which are what a node follows",
                 same_session_hint};
  }
  std::erase_if(node.packets, [](const PacketRecord& packet) { return !is_usable(packet); });
  const ProbeIndex probes = by_sequence(prober.probes);
  const std::optional<std::int64_t> shift = sequence_shift(prober, node, probes);
  if (!shift) {
    return Error{"join", "the two bundles", "the node saw none of the prober's packets", same_session_hint};
  }
  for (PacketRecord& packet : node.packets) {
    packet.sequence += *shift;
  }
  const Arrivals arrived = arrivals(node.packets);
  const std::optional<ClockFit> clock = base::fit_clocks(bounds_of(prober, node, probes, arrived));
  if (!clock) {
    return Error{"join", "the two bundles", "no probe that the node saw was answered", same_session_hint};
  }
  if (clock->uncertainty_ns > largest_contradiction_ns) {
    return Error{"join", "the two bundles",
                 "their clocks differ by " + base::format_duration(2 * clock->uncertainty_ns) + " more or less from probe to probe",
                 same_session_hint};
  }

  TwoEnds joined;
  std::int64_t last_sent_ns = 0;
  joined.clock = *clock;
  for (const ProbeRecord& probe : prober.probes) {
    if (!is_usable(probe)) {
      continue;
    }
    const ProbeRecord here = translated(probe, *clock);
    last_sent_ns = std::max(last_sent_ns, here.sent_ns);
    // Before and after, nobody watched the node.
    if (here.intended_ns >= node.run.start_ns && here.intended_ns <= node.run.end_ns) {
      node.probes.push_back(here);
    }
  }
  joined.probe_count = static_cast<std::int64_t>(node.probes.size());
  joined.seen_count = std::count_if(node.probes.begin(), node.probes.end(),
                                    [&](const ProbeRecord& probe) { return arrived.contains(probe.sequence); });
  take_run(node.run, prober.run, last_sent_ns);
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
