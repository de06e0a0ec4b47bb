// SPDX-License-Identifier: Apache-2.0
#include "shape/testing/simulate.h"

#include <algorithm>
#include <cmath>

namespace stallscope::shape::testing {
namespace {

constexpr std::int64_t service_ns = 2 * us;

}  // namespace

std::int64_t Dice::exponential(double mean) {
  return std::llround(-mean * std::log1p(-uniform()));
}

std::int64_t Dice::heavy(std::int64_t smallest) {
  constexpr double inverse_index = 1 / 1.5;
  return std::llround(static_cast<double>(smallest) * std::min(1'000.0, std::pow(1 - uniform(), -inverse_index)));
}

std::int64_t queue_of(std::uint32_t flow, std::int64_t queue_count, std::uint64_t seed) {
  // The finaliser of SplitMix64.
  std::uint64_t hash = (seed + 1) * 0x9e3779b97f4a7c15U + flow * 0xd1b54a32d192ed03U;
  hash = (hash ^ (hash >> 30U)) * 0xbf58476d1ce4e5b9U;
  hash = (hash ^ (hash >> 27U)) * 0x94d049bb133111ebU;
  hash ^= hash >> 31U;
  return static_cast<std::int64_t>(hash % static_cast<std::uint64_t>(queue_count));
}

std::vector<TimedPacket> quiet_run(const Traffic& run, Dice& dice) {
  std::vector<TimedPacket> packets;
  const std::int64_t interval_ns = second / run.packets_per_s;
  const std::int64_t count = run.duration_ns / interval_ns;
  packets.reserve(static_cast<std::size_t>(count));
  for (std::int64_t index = 0; index < count; ++index) {
    TimedPacket packet;
    packet.flow = static_cast<std::uint32_t>(index % run.flow_count);
    packet.sequence = index / run.flow_count;
    packet.intended_ns = run_start_ns + index * interval_ns;
    packet.sent_ns = packet.intended_ns + dice.exponential(20e3);
    packet.answered_ns = packet.sent_ns + run.rtt_ns + dice.exponential(static_cast<double>(run.jitter_ns));
    packets.push_back(packet);
  }
  return packets;
}

void hold(std::vector<TimedPacket>& packets, const Traffic& run, const Stall& stall, std::uint64_t hash_seed, Dice& dice) {
  const std::int64_t release_ns = stall.start_ns + stall.length_ns;
  std::int64_t position = 0;
  for (TimedPacket& packet : packets) {
    const std::int64_t reaches_ns = packet.sent_ns + run.rtt_ns / 2;
    const bool same_queue = stall.queue < 0 || queue_of(packet.flow, run.queue_count, hash_seed) == stall.queue;
    if (packet.answered() && same_queue && reaches_ns >= stall.start_ns && reaches_ns < release_ns + position * service_ns) {
      packet.answered_ns = std::max(packet.answered_ns, release_ns + position * service_ns + run.rtt_ns / 2 + dice.below(5 * us));
      ++position;
    }
  }
}

void delay_sender(std::vector<TimedPacket>& packets, std::int64_t start_ns, std::int64_t length_ns) {
  const std::int64_t end_ns = start_ns + length_ns;
  std::int64_t position = 0;
  for (TimedPacket& packet : packets) {
    if (packet.sent_ns >= start_ns && packet.sent_ns < end_ns) {
      const std::int64_t rtt_ns = packet.rtt_ns();
      packet.sent_ns = end_ns + position++ * service_ns;
      packet.answered_ns = packet.answered() ? packet.sent_ns + rtt_ns : packet.answered_ns;
    }
  }
}

void delay(std::vector<TimedPacket>& packets, const std::function<std::int64_t(const TimedPacket&)>& extra_ns) {
  for (TimedPacket& packet : packets) {
    if (packet.answered()) {
      packet.answered_ns += extra_ns(packet);
    }
  }
}

void lose(std::vector<TimedPacket>& packets, const std::function<bool(const TimedPacket&)>& lost) {
  for (TimedPacket& packet : packets) {
    if (lost(packet)) {
      packet.answered_ns = TimedPacket::not_answered;
    }
  }
}

}  // namespace stallscope::shape::testing
