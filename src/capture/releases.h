// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "capture/decode.h"
#include "capture/packet.h"
#include "capture/tag_bucket.h"

namespace stallscope::capture {

/// Packets to a host that came all at once after a silence which that host's traffic does not have: what a queue that stood still
/// lets go. It takes no answers, so it is seen on the side that receives, too.
struct PacketRelease {
  std::array<std::uint8_t, 16> host{};
  bool v6 = false;
  /// When the silence began, and when it ended.
  std::int64_t silent_from_ns = 0;
  std::int64_t released_ns = 0;
  std::int64_t drained_ns = 0;
  std::int64_t packet_count = 0;
  /// Of the first.
  std::uint32_t packet = 0;
  /// Silence, counted in usual distances from one packet to the next. Were packets independent, so long a silence had the chance
  /// exp(-this).
  double usual_gaps = 0;

  [[nodiscard]] std::int64_t silence_ns() const { return released_ns - silent_from_ns; }

  friend bool operator==(const PacketRelease&, const PacketRelease&) = default;
};

/// Looks at the distances of packets, by the host they go to, as they pass. Fixed memory.
class ReleaseFinder {
 public:
  /// Hosts whose packets are looked at, 104 bytes each; further ones are left out.
  static constexpr std::size_t most_hosts = 4'096;
  static constexpr std::size_t most_kept = 1'000;

  /// Packets whose hosts are fetched from memory at the same time.
  static constexpr std::size_t most_at_once = 32;

  ReleaseFinder();
  /// At most `most_at_once`; `decoded` says what each of them is, in their order.
  void add(std::span<const Packet> packets, std::span<const Decoded> decoded);
  /// In order of time. Those of hosts whose traffic is nothing but bursts are left out. To be called once.
  [[nodiscard]] std::vector<PacketRelease> finish();
  /// Beyond what is kept.
  [[nodiscard]] std::int64_t left_out_count() const { return left_out_count_; }

 private:
  struct Arrival {
    std::uint64_t hash;
    std::size_t at;
  };
  /// What is needed for each packet: one cache line.
  struct alignas(64) Host {
    /// IPv4: the first four bytes, the rest is zero.
    std::array<std::uint8_t, 16> address{};
    bool v6 = false;
    bool in_burst = false;
    /// As far as it matters.
    std::uint8_t gap_count = 0;
    /// Smoothed distance outside of bursts.
    std::int64_t gap_ns = 0;
    std::int64_t first_ns = 0;
    std::int64_t last_ns = 0;
    std::int64_t silent_ns = 0;
  };
  struct Burst {
    std::int64_t silent_from_ns = 0;
    std::int64_t released_ns = 0;
    std::int64_t packet_count = 0;
    std::uint32_t first_packet = 0;
    std::uint32_t flow = 0;
    bool many_flows = false;
  };

  void look_at(const Packet& packet, const Decoded& decoded, std::uint64_t hash);
  [[nodiscard]] Host* host_of(const IpHeader& ip, std::uint64_t hash);
  [[nodiscard]] Burst& burst_of(const Host& host) { return bursts_[static_cast<std::size_t>(&host - hosts_.data())]; }
  void start_burst(Host& host, const Packet& packet, std::uint32_t flow);
  void end_burst(Host& host);

  /// Of addresses: most hosts of a busy capture are not in the table, and are passed over without a look at it.
  std::vector<TagBucket> tags_;
  std::vector<Host> hosts_;
  std::vector<Burst> bursts_;
  std::vector<PacketRelease> kept_;
  std::int64_t left_out_count_ = 0;
};

}  // namespace stallscope::capture
