// SPDX-License-Identifier: Apache-2.0
#include "capture/releases.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/units.h"
#include "capture/exchange.h"
#include "shape/lateness.h"

namespace stallscope::capture {
namespace {

/// Packets that a softirq takes out of a queue follow each other within microseconds; a busy CPU may be interrupted in between.
constexpr std::int64_t longest_burst_gap_ns = 50 * base::ns_per_us;
/// e^-20 is two in 10^9: a silence of so many usual distances is no chance, however long the capture.
constexpr std::int64_t least_silence_gaps = 20;
/// Of what was to come in the silence, at least this part comes at its end.
constexpr std::int64_t burst_divisor = 4;
constexpr std::int64_t fewest_in_burst = 8;
/// What is usual is not known before.
constexpr std::int64_t fewest_gaps = 100;
constexpr std::int64_t smoothing = 64;
/// A host that is silent before bursts for a larger part of its time is sent to in batches.
constexpr std::int64_t batch_divisor = 5;
/// A power of two, so that they lie in one cache line of tags.
constexpr std::size_t places_tried = 8;

std::uint32_t flow_mark(const Decoded& decoded) {
  const IpHeader& ip = decoded.inner();
  auto mark = load<std::uint32_t>(ip.source + ip.address_size() - 4);
  mark ^= (std::uint32_t{decoded.source_port} << 16U) | decoded.destination_port;
  return mark;
}

}  // namespace

ReleaseFinder::ReleaseFinder() : tags_(most_hosts), hosts_(most_hosts) {}

ReleaseFinder::Host* ReleaseFinder::host_of(const IpHeader& ip) {
  std::uint64_t word = load<std::uint32_t>(ip.destination);
  if (ip.v6) {
    word = load<std::uint64_t>(ip.destination) ^ (load<std::uint64_t>(ip.destination + 8) << 1U);
  }
  const std::uint64_t hash = word * 0x9e3779b97f4a7c15U;
  const auto tag = static_cast<std::uint32_t>(hash >> 16U) | 1U;
  const auto start = static_cast<std::size_t>(hash >> 52U) & ~(places_tried - 1);
  for (std::size_t place = start; place < start + places_tried; ++place) {
    Host& host = hosts_[place];
    if (tags_[place] == 0) {
      tags_[place] = tag;
      host.v6 = ip.v6;
      copy_address(host.address, ip.destination, ip.v6);
      return &host;
    }
    if (tags_[place] == tag && host.v6 == ip.v6 && std::memcmp(host.address.data(), ip.destination, ip.address_size()) == 0) {
      return &host;
    }
  }
  return nullptr;
}

void ReleaseFinder::start_burst(Host& host, const Packet& packet, std::uint32_t flow) {
  host.silent_from_ns = host.last_ns;
  host.released_ns = packet.time_ns;
  host.first_packet = packet.number;
  host.flow = flow;
  host.many_flows = false;
  host.burst_count = 1;
}

void ReleaseFinder::add(const Packet& packet, const Decoded& decoded) {
  if (decoded.ip_count == 0) {
    return;
  }
  Host* const host = host_of(decoded.inner());
  if (host == nullptr) {
    return;
  }
  if (host->last_ns == 0) {
    host->first_ns = packet.time_ns;
    host->last_ns = packet.time_ns;
    return;
  }
  const std::int64_t gap_ns = packet.time_ns - host->last_ns;
  if (gap_ns < 0) {
    return;
  }
  const bool silence =
      host->gap_count >= fewest_gaps && gap_ns > shape::late_floor_ns && gap_ns / least_silence_gaps > host->gap_ns;
  if (silence) {
    end_burst(*host);
    start_burst(*host, packet, flow_mark(decoded));
  } else if (host->burst_count > 0 && gap_ns <= longest_burst_gap_ns) {
    ++host->burst_count;
    host->many_flows = host->many_flows || flow_mark(decoded) != host->flow;
  } else {
    end_burst(*host);
    ++host->gap_count;
    host->gap_ns += (gap_ns - host->gap_ns) / std::min(host->gap_count, smoothing);
  }
  host->last_ns = packet.time_ns;
}

void ReleaseFinder::end_burst(Host& host) {
  const std::int64_t count = std::exchange(host.burst_count, 0);
  const std::int64_t silence_ns = host.released_ns - host.silent_from_ns;
  const std::int64_t expected = silence_ns / std::max<std::int64_t>(host.gap_ns, 1);
  if (count < fewest_in_burst || count < expected / burst_divisor || !host.many_flows) {
    return;
  }
  host.silent_ns += silence_ns;
  if (kept_.size() == most_kept) {
    ++left_out_count_;
    return;
  }
  PacketRelease release;
  release.host = host.address;
  release.v6 = host.v6;
  release.silent_from_ns = host.silent_from_ns;
  release.released_ns = host.released_ns;
  release.drained_ns = host.last_ns;
  release.packet_count = count;
  release.packet = host.first_packet;
  release.usual_gaps = static_cast<double>(silence_ns) / static_cast<double>(std::max<std::int64_t>(host.gap_ns, 1));
  kept_.push_back(release);
}

std::vector<PacketRelease> ReleaseFinder::finish() {
  for (Host& host : hosts_) {
    end_burst(host);
  }
  for (const Host& host : hosts_) {
    if (host.silent_ns > (host.last_ns - host.first_ns) / batch_divisor) {
      std::erase_if(kept_, [&](const PacketRelease& release) { return release.v6 == host.v6 && release.host == host.address; });
    }
  }
  std::stable_sort(kept_.begin(), kept_.end(),
                   [](const PacketRelease& a, const PacketRelease& b) { return a.released_ns < b.released_ns; });
  return std::move(kept_);
}

}  // namespace stallscope::capture
