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
constexpr std::uint8_t fewest_gaps = 100;
constexpr std::uint8_t smoothing = 64;
/// A host that is silent before bursts for a larger part of its time is sent to in batches.
constexpr std::int64_t batch_divisor = 5;

constexpr std::size_t bucket_count = ReleaseFinder::most_hosts / TagBucket::size;

std::uint64_t hash_of(const IpHeader& ip) {
  std::uint64_t word = load<std::uint32_t>(ip.destination);
  if (ip.v6) {
    word = load<std::uint64_t>(ip.destination) ^ (load<std::uint64_t>(ip.destination + 8) << 1U);
  }
  return word * 0x9e3779b97f4a7c15U;
}

/// By other bits than the tag.
std::size_t bucket_of(std::uint64_t hash) {
  return static_cast<std::size_t>(hash >> 32U) % bucket_count;
}

std::uint32_t flow_mark(const Decoded& decoded) {
  const IpHeader& ip = decoded.inner();
  auto mark = load<std::uint32_t>(ip.source + ip.address_size() - 4);
  mark ^= (std::uint32_t{decoded.source_port} << 16U) | decoded.destination_port;
  return mark;
}

}  // namespace

ReleaseFinder::ReleaseFinder() : tags_(bucket_count), hosts_(most_hosts), bursts_(most_hosts) {}

void ReleaseFinder::add(std::span<const Packet> packets, std::span<const Decoded> decoded) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): as many as are counted are written before they are read
  std::array<Arrival, most_at_once> arrivals;
  std::size_t count = 0;
  for (std::size_t at = 0; at < packets.size(); ++at) {
    if (decoded[at].ip_count == 0) {
      continue;
    }
    const std::uint64_t hash = hash_of(decoded[at].inner());
    const std::size_t bucket = bucket_of(hash);
    const Ways ways = tags_[bucket].with(TagBucket::tag_of(hash));
    const Ways empty = tags_[bucket].with(TagBucket::no_tag);
    __builtin_prefetch(&hosts_[ways.any() ? (bucket * TagBucket::size) + ways.first() : 0], 1);
    arrivals[count] = {hash, at};
    // Without a branch: which packet is for a host of the table is hard to foretell.
    count += ways.any() || empty.any() ? std::size_t{1} : std::size_t{0};
  }
  for (const Arrival& arrival : std::span(arrivals).first(count)) {
    look_at(packets[arrival.at], decoded[arrival.at], arrival.hash);
  }
}

ReleaseFinder::Host* ReleaseFinder::host_of(const IpHeader& ip, std::uint64_t hash) {
  const std::size_t bucket = bucket_of(hash);
  const TagBucket::Tag tag = TagBucket::tag_of(hash);
  for (Ways ways = tags_[bucket].with(tag); ways.any(); ways.drop_first()) {
    Host& host = hosts_[(bucket * TagBucket::size) + ways.first()];
    const bool same = ip.v6 ? std::memcmp(host.address.data(), ip.destination, 16) == 0
                            : load<std::uint32_t>(host.address.data()) == load<std::uint32_t>(ip.destination);
    if (same && host.v6 == ip.v6) {
      return &host;
    }
  }
  const Ways empty = tags_[bucket].with(TagBucket::no_tag);
  if (!empty.any()) {
    return nullptr;
  }
  tags_[bucket].set(empty.first(), tag);
  Host& host = hosts_[(bucket * TagBucket::size) + empty.first()];
  host.v6 = ip.v6;
  copy_address(host.address, ip.destination, ip.v6);
  return &host;
}

void ReleaseFinder::look_at(const Packet& packet, const Decoded& decoded, std::uint64_t hash) {
  Host* const host = host_of(decoded.inner(), hash);
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
      gap_ns > shape::late_floor_ns && host->gap_count >= fewest_gaps && gap_ns / least_silence_gaps > host->gap_ns;
  if (silence) {
    end_burst(*host);
    start_burst(*host, packet, flow_mark(decoded));
  } else if (host->in_burst && gap_ns <= longest_burst_gap_ns) {
    Burst& burst = burst_of(*host);
    ++burst.packet_count;
    burst.many_flows = burst.many_flows || flow_mark(decoded) != burst.flow;
  } else {
    end_burst(*host);
    host->gap_count = std::min<std::uint8_t>(host->gap_count + 1, fewest_gaps);
    const std::int64_t more_ns = gap_ns - host->gap_ns;
    // Mostly by a number that the compiler knows: a division takes as long as all the rest.
    host->gap_ns += host->gap_count < smoothing ? more_ns / host->gap_count : more_ns / smoothing;
  }
  host->last_ns = packet.time_ns;
}

void ReleaseFinder::start_burst(Host& host, const Packet& packet, std::uint32_t flow) {
  host.in_burst = true;
  burst_of(host) = {host.last_ns, packet.time_ns, 1, packet.number, flow, false};
}

void ReleaseFinder::end_burst(Host& host) {
  if (!std::exchange(host.in_burst, false)) {
    return;
  }
  const Burst& burst = burst_of(host);
  const std::int64_t silence_ns = burst.released_ns - burst.silent_from_ns;
  const std::int64_t expected = silence_ns / std::max<std::int64_t>(host.gap_ns, 1);
  if (burst.packet_count < fewest_in_burst || burst.packet_count < expected / burst_divisor || !burst.many_flows) {
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
  release.silent_from_ns = burst.silent_from_ns;
  release.released_ns = burst.released_ns;
  release.drained_ns = host.last_ns;
  release.packet_count = burst.packet_count;
  release.packet = burst.first_packet;
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
