// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

// What a UDP probe and the answer of `stallscope respond` look like. Both have the same length, so the responder amplifies nothing.
// Everything parsed here is hostile input: the functions accept any bytes and neither read past the end nor allocate.
//
//   0  4  "stsc"                  24  8  far receive time, ns      } zero in a probe; by the responder's
//   4  1  version, 1              32  8  far send time, ns         } wall clock in an answer
//   5  1  1 probe, 2 answer       40  8  zero
//   6  2  zero
//   8  8  token of the session
//  16  8  sequence                            all numbers in network order
namespace stallscope::probe {

inline constexpr std::size_t udp_packet_bytes = 48;
using UdpPacket = std::array<std::byte, udp_packet_bytes>;

struct UdpLabel {
  std::uint64_t token = 0;
  std::int64_t sequence = 0;
};

struct UdpAnswer {
  UdpLabel label;
  std::int64_t far_received_ns = 0;
  std::int64_t far_sent_ns = 0;
};

void build_udp_probe(const UdpLabel& label, std::span<std::byte, udp_packet_bytes> to);
/// Turns a probe into its answer in place.
void make_udp_answer(std::span<std::byte, udp_packet_bytes> probe, std::int64_t received_ns, std::int64_t sent_ns);

/// Whether it is a probe of ours: magic, version, kind and exactly this length.
[[nodiscard]] bool is_udp_probe(std::span<const std::byte> datagram);
/// Nothing for anything but an answer, and for one whose times are impossible.
[[nodiscard]] std::optional<UdpAnswer> parse_udp_answer(std::span<const std::byte> datagram);
/// What an ICMP error quotes of a probe's payload; nothing where it is cut short.
[[nodiscard]] std::optional<UdpLabel> parse_quoted_udp_probe(std::span<const std::byte> payload);

}  // namespace stallscope::probe
