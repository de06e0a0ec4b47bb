// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "capture/packet.h"

namespace stallscope::capture {

/// IP headers that are kept, outermost first; what is tunnelled deeper is not looked at.
inline constexpr std::size_t most_ip_headers = 4;
/// VLAN tags and extension headers that are passed over; real packets have two or three.
inline constexpr std::size_t most_skipped_headers = 16;

/// IP protocol numbers (IANA).
namespace protocol {
inline constexpr std::uint8_t icmp = 1;
inline constexpr std::uint8_t ipv4 = 4;
inline constexpr std::uint8_t tcp = 6;
inline constexpr std::uint8_t udp = 17;
inline constexpr std::uint8_t ipv6 = 41;
inline constexpr std::uint8_t gre = 47;
inline constexpr std::uint8_t icmp6 = 58;
}  // namespace protocol

namespace tcp_flag {
inline constexpr std::uint8_t fin = 0x01;
inline constexpr std::uint8_t syn = 0x02;
inline constexpr std::uint8_t rst = 0x04;
inline constexpr std::uint8_t ack = 0x10;
}  // namespace tcp_flag

enum class Tunnel : std::uint8_t { none, ip_in_ip, gre, vxlan, geneve };

struct IpHeader {
  /// Into the packet: 4 bytes of IPv4, 16 of IPv6.
  const std::uint8_t* source = nullptr;
  const std::uint8_t* destination = nullptr;
  bool v6 = false;
  std::uint8_t protocol = 0;
  /// What it was wrapped in; of the outermost: none.
  Tunnel inside = Tunnel::none;
  /// Time to live, or hop limit: each router on the way takes one off.
  std::uint8_t hops_left = 0;
  /// 0 in IPv6 without a fragment header.
  std::uint32_t id = 0;

  [[nodiscard]] std::size_t address_size() const { return v6 ? 16 : 4; }
};

enum class Transport : std::uint8_t { none, tcp, udp, icmp_echo_request, icmp_echo_reply, icmp_other };

/// What a packet says. Points into its bytes.
struct Decoded {
  std::array<IpHeader, most_ip_headers> ip;
  /// 0: not IP, or cut off before its header ended.
  std::size_t ip_count = 0;
  /// Of the innermost header. none for later fragments and for what is cut off.
  Transport transport = Transport::none;
  bool truncated = false;
  bool fragment = false;
  std::uint8_t tcp_flags = 0;
  bool has_timestamps = false;
  /// Of TCP and UDP.
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  /// 0 without timestamps.
  std::uint32_t timestamp_value = 0;
  std::uint32_t timestamp_echo = 0;
  std::uint32_t tcp_sequence = 0;
  std::uint32_t tcp_acknowledgement = 0;
  /// On the wire, whatever was captured of it.
  std::uint32_t tcp_payload_bytes = 0;
  std::uint16_t echo_id = 0;
  std::uint16_t echo_sequence = 0;
  /// Of what NAT leaves as it is of an echo request: length, first bytes of its data and IPv4's identification. 0: it has too
  /// little data, or not enough was captured.
  std::uint32_t echo_mark = 0;

  [[nodiscard]] const IpHeader& inner() const { return ip[ip_count - 1]; }
  [[nodiscard]] bool is(std::uint8_t flags_wanted, std::uint8_t of_flags) const { return (tcp_flags & of_flags) == flags_wanted; }
};

/// Any bytes are safe; takes a bounded number of steps and allocates nothing.
void decode(Bytes packet, std::uint32_t link, Decoded& decoded);

}  // namespace stallscope::capture
