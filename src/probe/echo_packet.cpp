// SPDX-License-Identifier: Apache-2.0
#include "probe/echo_packet.h"

#include "probe/wire.h"

namespace stallscope::probe {
namespace {

constexpr std::byte type_echo_reply{0};
constexpr std::byte type_echo_request{8};
constexpr std::byte type_echo_request_v6{128};
constexpr std::byte type_echo_reply_v6{129};
constexpr std::size_t checksum_at = 2;
constexpr std::size_t identifier_at = 4;
constexpr std::size_t sequence_at = 6;
constexpr std::size_t icmp_header_bytes = 8;
constexpr std::size_t token_at = 8;
constexpr std::size_t long_sequence_at = 16;
constexpr std::size_t minimum_ipv4_header_bytes = 20;
constexpr std::size_t ipv4_protocol_at = 9;
constexpr std::byte ipv4_protocol_icmp{1};

}  // namespace

std::uint16_t internet_checksum(std::span<const std::byte> bytes) {
  std::uint64_t sum = 0;
  std::size_t i = 0;
  for (; i + 1 < bytes.size(); i += 2) {
    sum += (std::to_integer<std::uint64_t>(bytes[i]) << 8U) | std::to_integer<std::uint64_t>(bytes[i + 1]);
  }
  if (i < bytes.size()) {
    sum += std::to_integer<std::uint64_t>(bytes[i]) << 8U;
  }
  while ((sum >> 16U) != 0) {
    sum = (sum & 0xffffU) + (sum >> 16U);
  }
  return static_cast<std::uint16_t>(~sum);
}

EchoPacket build_echo_request(const EchoLabel& label, IcmpVersion version) {
  EchoPacket packet{};
  const std::span<std::byte> bytes = packet;
  const auto sequence = static_cast<std::uint64_t>(label.sequence);
  bytes[0] = version == IcmpVersion::v6 ? type_echo_request_v6 : type_echo_request;
  store_big_endian(bytes.subspan(identifier_at), label.identifier);
  store_big_endian(bytes.subspan(sequence_at), static_cast<std::uint16_t>(sequence));
  store_big_endian(bytes.subspan(token_at), label.token);
  store_big_endian(bytes.subspan(long_sequence_at), sequence);
  if (version == IcmpVersion::v4) {
    store_big_endian(bytes.subspan(checksum_at), internet_checksum(bytes));
  }
  return packet;
}

ParsedReply parse_echo_reply(std::span<const std::byte> icmp, IcmpVersion version) {
  if (icmp.size() < echo_packet_bytes) {
    return {.reply = std::nullopt, .fault = EchoFault::too_short};
  }
  if (version == IcmpVersion::v4 && internet_checksum(icmp) != 0) {
    return {.reply = std::nullopt, .fault = EchoFault::bad_checksum};
  }
  if (icmp[0] != (version == IcmpVersion::v6 ? type_echo_reply_v6 : type_echo_reply) || icmp[1] != std::byte{0}) {
    return {.reply = std::nullopt, .fault = EchoFault::not_an_echo_reply};
  }
  EchoReply reply;
  reply.label.identifier = load_big_endian<std::uint16_t>(icmp.subspan(identifier_at));
  reply.label.token = load_big_endian<std::uint64_t>(icmp.subspan(token_at));
  reply.label.sequence = static_cast<std::int64_t>(load_big_endian<std::uint64_t>(icmp.subspan(long_sequence_at)));
  reply.wire_sequence = load_big_endian<std::uint16_t>(icmp.subspan(sequence_at));
  return {.reply = reply};
}

std::optional<QuotedRequest> parse_quoted_request(std::span<const std::byte> icmp, IcmpVersion version) {
  if (icmp.size() < icmp_header_bytes || icmp[0] != (version == IcmpVersion::v6 ? type_echo_request_v6 : type_echo_request)) {
    return std::nullopt;
  }
  QuotedRequest quoted;
  quoted.identifier = load_big_endian<std::uint16_t>(icmp.subspan(identifier_at));
  quoted.wire_sequence = load_big_endian<std::uint16_t>(icmp.subspan(sequence_at));
  if (icmp.size() >= token_at + sizeof(std::uint64_t)) {
    quoted.token = load_big_endian<std::uint64_t>(icmp.subspan(token_at));
  }
  return quoted;
}

std::optional<std::span<const std::byte>> icmp_of_ipv4(std::span<const std::byte> packet) {
  if (packet.size() < minimum_ipv4_header_bytes || (packet[0] >> 4U) != std::byte{4}) {
    return std::nullopt;
  }
  const std::size_t header_bytes = std::to_integer<std::size_t>(packet[0] & std::byte{0x0f}) * 4;
  if (header_bytes < minimum_ipv4_header_bytes || header_bytes > packet.size() || packet[ipv4_protocol_at] != ipv4_protocol_icmp) {
    return std::nullopt;
  }
  return packet.subspan(header_bytes);
}

namespace {

// RFC 4443 3.
std::string_view icmpv6_error_name(std::uint8_t type, std::uint8_t code) {
  constexpr std::array<std::string_view, 8> unreachable = {"no route",
                                                           "prohibited by a packet filter",
                                                           "beyond the scope of the source address",
                                                           "address unreachable",
                                                           "port unreachable",
                                                           "source address failed a policy",
                                                           "route rejected",
                                                           "source routing header error"};
  constexpr std::uint8_t destination_unreachable = 1;
  constexpr std::uint8_t packet_too_big = 2;
  constexpr std::uint8_t time_exceeded = 3;
  constexpr std::uint8_t parameter_problem = 4;
  switch (type) {
    case destination_unreachable:
      return code < unreachable.size() ? unreachable.at(code) : "destination unreachable";
    case packet_too_big:
      return "packet too big";
    case time_exceeded:
      return code == 0 ? "hop limit exceeded" : "fragment reassembly time exceeded";
    case parameter_problem:
      return "parameter problem";
    default:
      return "ICMPv6 error";
  }
}

}  // namespace

std::string_view icmp_error_name(std::uint8_t type, std::uint8_t code, IcmpVersion version) {
  if (version == IcmpVersion::v6) {
    return icmpv6_error_name(type, code);
  }
  // RFC 792, RFC 1122 3.2.2.1 and RFC 1812 5.2.7.1.
  constexpr std::array<std::string_view, 16> unreachable = {"network unreachable",
                                                            "host unreachable",
                                                            "protocol unreachable",
                                                            "port unreachable",
                                                            "fragmentation needed",
                                                            "source route failed",
                                                            "network unknown",
                                                            "host unknown",
                                                            "source host isolated",
                                                            "network prohibited",
                                                            "host prohibited",
                                                            "network unreachable for this type of service",
                                                            "host unreachable for this type of service",
                                                            "prohibited by a packet filter",
                                                            "host precedence violation",
                                                            "precedence cutoff"};
  constexpr std::uint8_t destination_unreachable = 3;
  constexpr std::uint8_t time_exceeded = 11;
  constexpr std::uint8_t parameter_problem = 12;
  if (type == destination_unreachable && code < unreachable.size()) {
    return unreachable.at(code);
  }
  if (type == time_exceeded) {
    return code == 0 ? "time to live exceeded" : "fragment reassembly time exceeded";
  }
  return type == parameter_problem ? "parameter problem" : "ICMP error";
}

}  // namespace stallscope::probe
