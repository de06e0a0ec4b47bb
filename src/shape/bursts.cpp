// SPDX-License-Identifier: Apache-2.0
#include "shape/bursts.h"

#include <algorithm>
#include <cmath>

namespace stallscope::shape {
namespace {

/// A flow stalled as a whole when at most one packet in this many of it passed: a packet may be on another way already.
constexpr std::int64_t stray_divisor = 10;
/// How often each packet may be looked at, all bursts together.
constexpr std::size_t looks_per_packet = 16;
/// How many packets before a burst are searched for one that passed.
constexpr std::size_t start_search = 4096;

std::int64_t drain_gap_ns(std::int64_t late_ns) {
  return std::clamp(late_ns / drain_divisor, together_floor_ns, longest_drain_gap_ns);
}

void describe(std::span<const TimedPacket> packets, std::span<const std::uint32_t> members, Burst& burst,
              std::vector<Point>& points) {
  burst.first_sent_ns = packets[members.front()].sent_ns;
  burst.last_sent_ns = packets[members.back()].sent_ns;
  points.clear();
  for (const std::uint32_t index : members) {
    const TimedPacket& packet = packets[index];
    // Relative to the first: a double does not hold nanoseconds of uptime exactly.
    points.push_back({static_cast<double>(packet.sent_ns - burst.first_sent_ns), static_cast<double>(packet.rtt_ns())});
  }
  std::int64_t last_counted_ns = burst.first_sent_ns;
  burst.epoch_count = 1;
  for (const std::uint32_t index : members) {
    if (packets[index].sent_ns - last_counted_ns > burst.spread_ns()) {
      last_counted_ns = packets[index].sent_ns;
      ++burst.epoch_count;
    }
  }
  burst.fit = fit_line(points);
  if (burst.fit && burst.epoch_count > 1) {
    burst.release = judge_release(*burst.fit, burst.last_sent_ns - burst.first_sent_ns, burst.spread_ns());
  }
}

}  // namespace

Bursts find_bursts(std::span<const TimedPacket> packets, const Classified& classified) {
  Bursts found;
  found.late.reserve(static_cast<std::size_t>(classified.late_count));
  for (const std::uint32_t index : classified.by_sent) {
    if (classified.fates[index] == Fate::late) {
      found.late.push_back(index);
    }
  }
  std::stable_sort(found.late.begin(), found.late.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return packets[a].answered_ns < packets[b].answered_ns; });
  std::vector<Point> points;
  std::size_t first = 0;
  for (std::size_t next = 1; next <= found.late.size(); ++next) {
    if (next < found.late.size()) {
      const TimedPacket& before = packets[found.late[next - 1]];
      const TimedPacket& after = packets[found.late[next]];
      if (after.answered_ns - before.answered_ns <= drain_gap_ns(std::max(before.rtt_ns(), after.rtt_ns()))) {
        continue;
      }
    }
    Burst burst;
    burst.first = first;
    burst.last = next;
    burst.first_arrival_ns = packets[found.late[first]].answered_ns;
    burst.last_arrival_ns = packets[found.late[next - 1]].answered_ns;
    const auto members = std::span(found.late).subspan(first, next - first);
    std::stable_sort(members.begin(), members.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return packets[a].sent_ns < packets[b].sent_ns; });
    describe(packets, members, burst, points);
    found.epoch_count += burst.epoch_count;
    if (burst.epoch_count > 1) {
      found.bursts.push_back(burst);
    }
    first = next;
  }
  return found;
}

std::vector<bool> find_overtaken(std::span<const TimedPacket> packets, const Classified& classified) {
  std::vector<bool> overtaken(classified.fates.size(), false);
  // Backwards: for each flow the earliest answer to anything sent later.
  std::vector<std::int64_t> earliest_ns(classified.baselines.size(), std::numeric_limits<std::int64_t>::max());
  for (std::size_t left = classified.by_sent.size(); left > 0; --left) {
    const std::uint32_t index = classified.by_sent[left - 1];
    const TimedPacket& packet = packets[index];
    if (packet.answered()) {
      overtaken[index] = earliest_ns[packet.flow] < packet.answered_ns - drain_gap_ns(packet.rtt_ns());
      earliest_ns[packet.flow] = std::min(earliest_ns[packet.flow], packet.answered_ns);
    }
  }
  return overtaken;
}

double coincidence_chance(const Burst& burst, const Bursts& all, const Classified& classified) {
  const auto run_ns = static_cast<double>(std::max<std::int64_t>(classified.end_ns - classified.start_ns, 1));
  const auto events = static_cast<double>(all.epoch_count);
  // A microsecond, because clocks have a resolution.
  const auto within_ns = static_cast<double>(burst.spread_ns() + base::ns_per_us);
  return poisson_tail(burst.epoch_count - 1, events * within_ns / run_ns);
}

WitnessStand::WitnessStand(std::span<const TimedPacket> packets, const Classified& classified, const Bursts& bursts,
                           const std::vector<TimeRange>& own_late)
    : packets_(packets),
      classified_(classified),
      bursts_(bursts),
      own_late_(own_late),
      burst_of_(classified.fates.size(), 0),
      counts_(classified.baselines.size()),
      budget_(looks_per_packet * classified.by_sent.size()) {
  for (std::size_t number = 0; number < bursts.bursts.size(); ++number) {
    for (std::size_t at = bursts.bursts[number].first; at < bursts.bursts[number].last; ++at) {
      burst_of_[bursts.late[at]] = static_cast<std::uint32_t>(number + 1);
    }
  }
}

WitnessStand::Count& WitnessStand::count_of(std::uint32_t flow) {
  Count& count = counts_[flow];
  if (count.stamp != stamp_) {
    count = Count{};
    count.stamp = stamp_;
    count.part.flow = flow;
    seen_.push_back(flow);
  }
  return count;
}

std::size_t WitnessStand::sent_from(std::int64_t time_ns) const {
  const auto at = std::lower_bound(classified_.by_sent.begin(), classified_.by_sent.end(), time_ns,
                                   [&](std::uint32_t index, std::int64_t time) { return packets_[index].sent_ns < time; });
  return static_cast<std::size_t>(at - classified_.by_sent.begin());
}

void WitnessStand::count_window(const Burst& burst, std::uint32_t id) {
  for (std::size_t at = sent_from(burst.first_sent_ns); at < classified_.by_sent.size(); ++at) {
    const std::uint32_t index = classified_.by_sent[at];
    const TimedPacket& packet = packets_[index];
    // Until the release, as long as a packet that was held would have been late.
    if (packet.sent_ns > burst.last_sent_ns && packet.sent_ns > burst.first_arrival_ns - late_floor_ns) {
      break;
    }
    if (packet.sent_ns > burst.last_sent_ns &&
        packet.sent_ns > burst.first_arrival_ns - classified_.baseline(packet).late_after_ns) {
      continue;
    }
    Count& count = count_of(packets_[index].flow);
    switch (classified_.fates[index]) {
      case Fate::late:
        ++(burst_of_[index] == id ? count.part.held_count : count.elsewhere_count);
        break;
      case Fate::on_time:
      case Fate::own_late:
        ++count.part.passed_count;
        break;
      case Fate::lost:
        ++count.part.lost_count;
        break;
      case Fate::undecided:
      case Fate::unusable:
        break;
    }
  }
}

void WitnessStand::count_reordering(const Burst& burst) {
  const auto members = std::span(bursts_.late).subspan(burst.first, burst.last - burst.first);
  by_arrival_.assign(members.begin(), members.end());
  std::stable_sort(by_arrival_.begin(), by_arrival_.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return packets_[a].answered_ns < packets_[b].answered_ns; });
  for (const std::uint32_t index : by_arrival_) {
    Count& count = count_of(packets_[index].flow);
    count.part.reordered_count += packets_[index].sequence < count.highest_sequence ? 1 : 0;
    count.highest_sequence = std::max(count.highest_sequence, packets_[index].sequence);
  }
}

void WitnessStand::sort_flows(Witness& witness) {
  std::sort(seen_.begin(), seen_.end());
  for (const std::uint32_t flow : seen_) {
    Count& count = counts_[flow];
    const std::int64_t other_count = count.part.passed_count + count.elsewhere_count;
    const std::int64_t sent_count = count.part.held_count + other_count;
    witness.all_sent_count += sent_count;
    witness.flow_count += sent_count > 0 || count.part.lost_count > 0 ? 1 : 0;
    count.stalled = count.part.held_count > 0 && other_count * stray_divisor <= sent_count;
    if (count.stalled) {
      witness.stalled.push_back(count.part);
      witness.held_count += count.part.held_count;
      witness.stalled_sent_count += sent_count;
      witness.lost_count += count.part.lost_count;
    } else if (count.part.passed_count > 0) {
      witness.passing.push_back(count.part);
      witness.passed_count += count.part.passed_count;
    }
  }
}

void WitnessStand::listen_for_silence(const Burst& burst, Witness& witness) {
  const std::int64_t silent_until_ns = burst.first_arrival_ns - drain_gap_ns(burst.length_ns());
  for (std::size_t at = sent_from(burst.first_sent_ns - burst.length_ns()); at < classified_.by_sent.size(); ++at) {
    const std::uint32_t index = classified_.by_sent[at];
    const TimedPacket& packet = packets_[index];
    if (packet.sent_ns >= burst.first_sent_ns) {
      break;
    }
    const Count& count = counts_[packet.flow];
    const bool stalled = count.stamp == stamp_ && count.stalled;
    // What was under way when the stall began still arrives, but promptly.
    const std::int64_t silent_from_ns = burst.first_sent_ns + classified_.baseline(packet).late_after_ns;
    if (stalled && packet.answered() && packet.answered_ns > silent_from_ns && packet.answered_ns < silent_until_ns) {
      ++witness.noise_count;
    }
  }
}

void WitnessStand::find_start(const Burst& burst, Witness& witness) {
  witness.earliest_start_ns = classified_.start_ns;
  std::size_t at = sent_from(burst.first_sent_ns);
  for (std::size_t looked = 0; at > 0 && looked < start_search; ++looked) {
    const std::uint32_t index = classified_.by_sent[--at];
    const Count& count = counts_[packets_[index].flow];
    if (count.stamp == stamp_ && count.stalled && classified_.fates[index] == Fate::on_time) {
      witness.earliest_start_ns = packets_[index].sent_ns;
      return;
    }
  }
}

std::optional<Witness> WitnessStand::hear(std::size_t burst_number) {
  const Burst& burst = bursts_.bursts[burst_number];
  const std::size_t looks =
      sent_from(std::max(burst.last_sent_ns, burst.first_arrival_ns) + 1) - sent_from(burst.first_sent_ns - burst.length_ns());
  if (looks > budget_) {
    return std::nullopt;
  }
  budget_ -= looks;
  ++stamp_;
  seen_.clear();
  Witness witness;
  count_window(burst, static_cast<std::uint32_t>(burst_number + 1));
  count_reordering(burst);
  sort_flows(witness);
  listen_for_silence(burst, witness);
  find_start(burst, witness);
  const auto first = std::partition_point(own_late_.begin(), own_late_.end(),
                                          [&](const TimeRange& range) { return range.end_ns <= burst.first_sent_ns; });
  for (auto range = first; range != own_late_.end() && range->start_ns < burst.first_arrival_ns; ++range) {
    witness.own_late_ns += std::min(range->end_ns, burst.first_arrival_ns) - std::max(range->start_ns, burst.first_sent_ns);
  }
  return witness;
}

}  // namespace stallscope::shape
