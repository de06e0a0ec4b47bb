// SPDX-License-Identifier: Apache-2.0
#include "diagnose/joins.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "diagnose/accounting.h"
#include "diagnose/arithmetic.h"

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;
using evidence::PacketLeg;
using evidence::PacketRecord;
using evidence::ProbeRecord;
using evidence::WaitRecord;

/// Packets of late probes only, findable by sequence.
class LatePackets {
 public:
  LatePackets(const Evidence& evidence, const ProbeAnalysis& probes, const TimeWindow& window) {
    std::vector<std::int64_t> late;
    for (const Episode& episode : probes.episodes) {
      for (const std::size_t index : episode.held.probes) {
        late.push_back(evidence.probes[index].sequence);
      }
    }
    std::sort(late.begin(), late.end());
    for (std::size_t index = 0; index < evidence.packets.size(); ++index) {
      const PacketRecord& packet = evidence.packets[index];
      const bool queue_known = packet.enqueued_ns != 0;
      if (!window.contains(queue_known ? packet.enqueued_ns : packet.received_ns, packet.received_ns)) {
        ++unusable_count_;
      } else if (std::binary_search(late.begin(), late.end(), packet.sequence)) {
        packets_.push_back(index);
      }
    }
    std::sort(packets_.begin(), packets_.end(), [&](std::size_t a, std::size_t b) {
      return std::tie(evidence.packets[a].sequence, evidence.packets[a].received_ns, a) <
             std::tie(evidence.packets[b].sequence, evidence.packets[b].received_ns, b);
    });
  }

  /// Indices into Evidence::packets in order of time.
  [[nodiscard]] std::vector<std::size_t> of(const Evidence& evidence, std::int64_t sequence) const {
    std::vector<std::size_t> found;
    auto packet = std::lower_bound(packets_.begin(), packets_.end(), sequence, [&](std::size_t index, std::int64_t wanted) {
      return evidence.packets[index].sequence < wanted;
    });
    for (; packet != packets_.end() && evidence.packets[*packet].sequence == sequence; ++packet) {
      found.push_back(*packet);
    }
    return found;
  }
  [[nodiscard]] std::int64_t unusable_count() const { return unusable_count_; }

 private:
  std::vector<std::size_t> packets_;
  std::int64_t unusable_count_ = 0;
};

struct PacketHolds {
  std::vector<Hold> holds;
  bool joined_to_wait = false;
  /// Both directions were seen from queue to stack: if no wait is among them, it was not a wait of these CPUs.
  bool complete = false;
  /// Index into Evidence::packets, where its queue is known.
  std::optional<std::size_t> first;
};

PacketHolds holds_by_sequence(const Evidence& evidence, std::size_t probe_index, const LatePackets& packets,
                              const WaitIndex& waits) {
  const ProbeRecord& probe = evidence.probes[probe_index];
  PacketHolds result;
  bool request_seen = false;
  bool reply_seen = false;
  // Where the queue hides when the packet came, it was between this device and the one before.
  std::int64_t previous_ns = probe.sent_ns;
  for (const std::size_t packet_index : packets.of(evidence, probe.sequence)) {
    const PacketRecord& packet = evidence.packets[packet_index];
    const std::int64_t from_ns = packet.enqueued_ns != 0 ? packet.enqueued_ns : std::min(previous_ns, packet.received_ns);
    previous_ns = packet.received_ns;
    if (packet.enqueued_ns != 0) {
      result.first = result.first.value_or(packet_index);
      (packet.leg == PacketLeg::request ? request_seen : reply_seen) = true;
    }
    if (packet.received_ns - from_ns < least_hold_ns) {
      continue;
    }
    Hold hold{probe_index, std::nullopt, packet.cpu, from_ns, packet.received_ns, JoinedBy::sequence, packet_index, packet.leg};
    bool found_wait = false;
    for (const std::size_t wait_index : waits.overlapping(packet.cpu, from_ns, packet.received_ns)) {
      const WaitRecord& wait = evidence.waits[wait_index];
      if (overlap_ns(wait.start_ns, wait.end_ns, from_ns, packet.received_ns) >= least_hold_ns) {
        hold.wait = wait_index;
        result.holds.push_back(hold);
        found_wait = true;
      }
    }
    if (!found_wait && packet.enqueued_ns != 0) {
      hold.wait.reset();
      result.holds.push_back(hold);
    }
    result.joined_to_wait = result.joined_to_wait || found_wait;
  }
  result.complete = request_seen && reply_seen;
  return result;
}

/// A packet whose neighbour's address is not known yet is in no receive queue: it waits at the sender for the answer to that
/// question (ARP), and if that is held up, comes at once after it. Both ways of such a probe are seen, and what is late lies before
/// them.
std::vector<Hold> holds_before_first_queue(const Evidence& evidence, std::size_t probe_index, std::int64_t baseline_rtt_ns,
                                           const PacketRecord& first, const WaitIndex& waits) {
  const ProbeRecord& probe = evidence.probes[probe_index];
  const std::int64_t enough_ns = std::max((probe.rtt_ns() - baseline_rtt_ns) / least_covered_divisor, least_hold_ns);
  std::vector<Hold> holds;
  for (const std::size_t wait_index : waits.overlapping(first.cpu, probe.sent_ns, first.enqueued_ns)) {
    const WaitRecord& wait = evidence.waits[wait_index];
    const std::int64_t since_ns = first.enqueued_ns - wait.end_ns;
    const bool released_it = since_ns >= 0 && since_ns < catch_up_limit_ns;
    if (released_it && overlap_ns(wait.start_ns, wait.end_ns, probe.sent_ns, first.enqueued_ns) >= enough_ns) {
      holds.push_back(
          {probe_index, wait_index, wait.cpu, probe.sent_ns, first.enqueued_ns, JoinedBy::time, std::nullopt, std::nullopt});
    }
  }
  return holds;
}

/// Of an episode's probes that no packet could be joined for: the waits of the one CPU that cover most of their time.
std::vector<Hold> holds_by_time(const Evidence& evidence, const std::vector<std::size_t>& probes, std::int64_t baseline_rtt_ns,
                                const WaitIndex& waits) {
  std::vector<Hold> candidates;
  std::map<std::int32_t, std::int64_t> covered_by_cpu;
  for (const std::size_t probe_index : probes) {
    const ProbeRecord& probe = evidence.probes[probe_index];
    const std::int64_t lateness_ns = probe.rtt_ns() - baseline_rtt_ns;
    std::map<std::int32_t, std::int64_t> covered;
    const std::vector<std::size_t> found = waits.overlapping(probe.sent_ns, probe.received_ns);
    for (const std::size_t wait_index : found) {
      const WaitRecord& wait = evidence.waits[wait_index];
      covered[wait.cpu] += overlap_ns(wait.start_ns, wait.end_ns, probe.sent_ns, probe.received_ns);
    }
    for (const std::size_t wait_index : found) {
      const WaitRecord& wait = evidence.waits[wait_index];
      const bool long_enough = overlap_ns(wait.start_ns, wait.end_ns, probe.sent_ns, probe.received_ns) >= least_hold_ns &&
                               covered[wait.cpu] >= lateness_ns / least_covered_divisor;
      if (long_enough) {
        candidates.push_back(
            {probe_index, wait_index, wait.cpu, probe.sent_ns, probe.received_ns, JoinedBy::time, std::nullopt, std::nullopt});
        covered_by_cpu[wait.cpu] += overlap_ns(wait.start_ns, wait.end_ns, probe.sent_ns, probe.received_ns);
      }
    }
  }
  if (candidates.empty()) {
    return candidates;
  }
  const auto best = std::max_element(covered_by_cpu.begin(), covered_by_cpu.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  std::erase_if(candidates, [&](const Hold& hold) { return hold.cpu != best->first; });
  return candidates;
}

}  // namespace

Joins join_probes(const Evidence& evidence, const ProbeAnalysis& probes, const WaitIndex& waits, const TimeWindow& window) {
  const LatePackets packets(evidence, probes, window);
  Joins joins;
  joins.unusable_packet_count = packets.unusable_count();
  for (const Episode& episode : probes.episodes) {
    std::vector<std::size_t> without_wait;
    for (const std::size_t probe_index : episode.held.probes) {
      PacketHolds found = holds_by_sequence(evidence, probe_index, packets, waits);
      if (found.complete) {
        const std::vector<Hold> before =
            holds_before_first_queue(evidence, probe_index, probes.summary.baseline_rtt_ns, evidence.packets[*found.first], waits);
        joins.holds.insert(joins.holds.end(), before.begin(), before.end());
      }
      joins.holds.insert(joins.holds.end(), found.holds.begin(), found.holds.end());
      if (!found.joined_to_wait && !found.complete) {
        without_wait.push_back(probe_index);
      }
    }
    for (Hold& hold : holds_by_time(evidence, without_wait, probes.summary.baseline_rtt_ns, waits)) {
      joins.holds.push_back(hold);
    }
  }
  return joins;
}

}  // namespace stallscope::diagnose
