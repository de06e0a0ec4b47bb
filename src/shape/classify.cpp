// SPDX-License-Identifier: Apache-2.0
#include "shape/classify.h"

#include <algorithm>
#include <limits>

namespace stallscope::shape {
namespace {

/// With fewer answers a flow's own median says less than that of all flows.
constexpr std::size_t own_baseline_answers = 16;

bool usable(const TimedPacket& packet) {
  return packet.flow < max_flows && packet.possible();
}

/// RTTs are laid out flow by flow in one array, so that each flow's median needs no memory of its own.
void measure_baselines(std::span<const TimedPacket> packets, Classified& classified) {
  std::uint32_t flow_count = 0;
  for (const std::uint32_t index : classified.by_sent) {
    flow_count = std::max(flow_count, packets[index].flow + 1);
  }
  std::vector<std::size_t> ends(flow_count, 0);
  for (const std::uint32_t index : classified.by_sent) {
    ends[packets[index].flow] += packets[index].answered() ? 1U : 0U;
  }
  std::size_t total = 0;
  for (std::size_t& end : ends) {
    total += end;
    end = total - end;
  }
  std::vector<std::int64_t> rtts(total);
  for (const std::uint32_t index : classified.by_sent) {
    if (packets[index].answered()) {
      rtts[ends[packets[index].flow]++] = packets[index].rtt_ns();
    }
  }
  classified.baselines.resize(flow_count);
  std::size_t start = 0;
  bool all_measured = true;
  // Those with few answers first: measuring overwrites the RTTs, and these need all of them as they are.
  for (std::size_t flow = 0; flow < flow_count; start = ends[flow++]) {
    all_measured = all_measured && ends[flow] - start >= own_baseline_answers;
  }
  if (!all_measured) {
    std::vector<std::int64_t> copy = rtts;
    std::fill(classified.baselines.begin(), classified.baselines.end(), measure_baseline(copy));
  }
  start = 0;
  for (std::size_t flow = 0; flow < flow_count; start = ends[flow++]) {
    if (ends[flow] - start >= own_baseline_answers) {
      classified.baselines[flow] = measure_baseline(std::span(rtts).subspan(start, ends[flow] - start));
    }
  }
}

}  // namespace

Classified classify(std::span<const TimedPacket> packets, std::int64_t end_ns) {
  Classified classified;
  // Indices have 32 bits. What is beyond would need 160 GiB.
  packets = packets.first(std::min<std::size_t>(packets.size(), std::numeric_limits<std::uint32_t>::max() - 1));
  classified.fates.assign(packets.size(), Fate::unusable);
  classified.by_sent.reserve(packets.size());
  for (std::size_t index = 0; index < packets.size(); ++index) {
    if (usable(packets[index])) {
      classified.by_sent.push_back(static_cast<std::uint32_t>(index));
    } else {
      ++classified.unusable_count;
    }
  }
  if (classified.by_sent.empty()) {
    return classified;
  }
  const auto earlier = [&](std::uint32_t a, std::uint32_t b) { return packets[a].sent_ns < packets[b].sent_ns; };
  // What a prober or a capture delivers is in order already.
  if (!std::is_sorted(classified.by_sent.begin(), classified.by_sent.end(), earlier)) {
    std::stable_sort(classified.by_sent.begin(), classified.by_sent.end(), earlier);
  }
  measure_baselines(packets, classified);

  classified.start_ns = packets[classified.by_sent.front()].sent_ns;
  classified.end_ns = std::clamp(end_ns, packets[classified.by_sent.back()].sent_ns, latest_time_ns);
  std::int64_t slowest_ns = 0;
  for (const std::uint32_t index : classified.by_sent) {
    const TimedPacket& packet = packets[index];
    if (!packet.answered()) {
      continue;
    }
    ++classified.answered_count;
    classified.end_ns = std::max(classified.end_ns, packet.answered_ns);
    slowest_ns = std::max(slowest_ns, packet.rtt_ns());
    const Fate fate = judge_answer(classified.baseline(packet), packet.intended_ns, packet.sent_ns, packet.answered_ns);
    classified.fates[index] = fate;
    classified.late_count += fate == Fate::late ? 1 : 0;
    classified.own_late_count += fate == Fate::own_late ? 1 : 0;
  }
  // Where answers took longer than the usual limit, a packet has to be older than the slowest of them to be called lost.
  const std::int64_t decided_after_ns = std::max(lost_after_ns, slowest_ns);
  for (const std::uint32_t index : classified.by_sent) {
    if (packets[index].answered()) {
      continue;
    }
    const bool lost = classified.end_ns - packets[index].sent_ns >= decided_after_ns;
    classified.fates[index] = lost ? Fate::lost : Fate::undecided;
    ++(lost ? classified.lost_count : classified.undecided_count);
  }
  return classified;
}

}  // namespace stallscope::shape
