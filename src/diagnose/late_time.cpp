// SPDX-License-Identifier: Apache-2.0
#include "diagnose/late_time.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>
#include <utility>

#include "diagnose/accounting.h"
#include "diagnose/arithmetic.h"

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;
using evidence::ProbeRecord;
using evidence::WaitMode;
using Kind = LatePart::Kind;

/// Lengths by kind and mode.
class Parts {
 public:
  void add(Kind kind, std::optional<WaitMode> mode, std::int64_t length_ns) {
    if (length_ns > 0) {
      std::int64_t& sum_ns = lengths_[{kind, mode}];
      sum_ns = saturating_add(sum_ns, length_ns);
    }
  }

  [[nodiscard]] std::vector<LatePart> longest_first() const {
    std::vector<LatePart> parts;
    for (const auto& [key, length_ns] : lengths_) {
      parts.push_back({key.first, key.second, length_ns});
    }
    std::stable_sort(parts.begin(), parts.end(), [](const LatePart& a, const LatePart& b) { return a.length_ns > b.length_ns; });
    return parts;
  }

 private:
  std::map<std::pair<Kind, std::optional<WaitMode>>, std::int64_t> lengths_;
};

/// Where a probe stood: on a CPU, for a time, and whether that is known to be the time in its queue.
struct Stand {
  std::int64_t from_ns = 0;
  std::int64_t to_ns = 0;
  std::int32_t cpu = -1;
  bool in_queue = false;
};

bool operator<(const Stand& a, const Stand& b) {
  return std::tie(a.from_ns, a.to_ns, a.cpu) < std::tie(b.from_ns, b.to_ns, b.cpu);
}

/// Packets of all probes, findable by sequence.
using PacketIndex = std::multimap<std::int64_t, const evidence::PacketRecord*>;

/// Between queues it was in the hands of a CPU: of the prober's until its packet was queued, then of the one that had taken it out.
void add_processing(const ProbeRecord& probe, const PacketIndex& index, std::vector<Stand>& stands) {
  std::vector<const evidence::PacketRecord*> packets;
  const auto [first, last] = index.equal_range(probe.sequence);
  std::transform(first, last, std::back_inserter(packets), [](const auto& entry) { return entry.second; });
  std::sort(packets.begin(), packets.end(), [](const auto* a, const auto* b) { return a->received_ns < b->received_ns; });
  std::int64_t since_ns = probe.sent_ns;
  std::int32_t cpu = probe.sender_cpu;
  for (const evidence::PacketRecord* packet : packets) {
    if (packet->enqueued_ns != 0) {
      stands.push_back({since_ns, packet->enqueued_ns, cpu, false});
    }
    since_ns = packet->received_ns;
    cpu = packet->cpu;
  }
}

/// Of one probe, in order of time and without overlap: what a hold by several waits says several times is one stand.
std::vector<Stand> stands_of(const Evidence& evidence, const ProbeRecord& probe, const std::vector<const Hold*>& holds,
                             const PacketIndex& packets) {
  std::vector<Stand> stands;
  stands.reserve(holds.size());
  for (const Hold* hold : holds) {
    stands.push_back({hold->from_ns, hold->to_ns, hold->cpu, hold->packet && evidence.packets[*hold->packet].enqueued_ns != 0});
  }
  add_processing(probe, packets, stands);
  std::sort(stands.begin(), stands.end());
  std::int64_t position_ns = probe.sent_ns;
  for (Stand& stand : stands) {
    stand.from_ns = std::max(stand.from_ns, position_ns);
    stand.to_ns = std::min(stand.to_ns, probe.received_ns);
    position_ns = std::max(position_ns, stand.to_ns);
  }
  std::erase_if(stands, [](const Stand& stand) { return stand.from_ns >= stand.to_ns; });
  return stands;
}

/// Adds what is known of the stand and returns how much of it that is.
std::int64_t divide(const Evidence& evidence, const Stand& stand, const WaitIndex& waits, Parts& parts) {
  std::int64_t divided_ns = 0;
  const std::vector<std::size_t> found = waits.overlapping(stand.cpu, stand.from_ns, stand.to_ns);
  for (const Share& share : account(evidence, stand.from_ns, stand.to_ns, found)) {
    if (share.mode) {
      parts.add(Kind::wait, share.mode, share.length_ns);
    } else if (!stand.in_queue) {
      continue;  // It may not have been there yet.
    } else {
      parts.add(share.kind == ShareKind::catching_up ? Kind::catching_up : Kind::unexplained, std::nullopt, share.length_ns);
    }
    divided_ns += share.length_ns;
  }
  return divided_ns;
}

}  // namespace

std::vector<LateProbe> split_late_probes(const Evidence& evidence, const ProbeAnalysis& probes, const Joins& joins,
                                         const WaitIndex& waits) {
  std::map<std::size_t, std::vector<const Hold*>> holds;
  for (const Hold& hold : joins.holds) {
    holds[hold.probe].push_back(&hold);
  }
  PacketIndex packets;
  for (const evidence::PacketRecord& packet : evidence.packets) {
    packets.emplace(packet.sequence, &packet);
  }
  std::vector<LateProbe> split;
  for (const Episode& episode : probes.episodes) {
    for (const std::size_t index : episode.held.probes) {
      const ProbeRecord& probe = evidence.probes[index];
      Parts parts;
      // A probe that left before its time has the network to thank for the rest.
      const std::int64_t own_ns = std::clamp<std::int64_t>(probe.own_lateness_ns(), 0, probe.score_ns());
      parts.add(Kind::prober, std::nullopt, own_ns);
      std::int64_t left_ns = probe.score_ns() - own_ns;
      for (const Stand& stand : stands_of(evidence, probe, holds[index], packets)) {
        left_ns -= divide(evidence, stand, waits, parts);
      }
      const std::int64_t network_ns = std::clamp<std::int64_t>(left_ns, 0, probes.summary.baseline_rtt_ns);
      parts.add(Kind::network, std::nullopt, network_ns);
      parts.add(Kind::unexplained, std::nullopt, left_ns - network_ns);
      split.push_back({index, parts.longest_first()});
    }
  }
  std::sort(split.begin(), split.end(), [](const LateProbe& a, const LateProbe& b) { return a.probe < b.probe; });
  return split;
}

std::vector<LatePart> sum_parts(const std::vector<LateProbe>& probes) {
  Parts sum;
  for (const LateProbe& probe : probes) {
    for (const LatePart& part : probe.parts) {
      sum.add(part.kind, part.mode, part.length_ns);
    }
  }
  return sum.longest_first();
}

}  // namespace stallscope::diagnose
