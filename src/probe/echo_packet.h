// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

// The bytes of an echo request and of what can come back (RFC 792, RFC 4443). Everything parsed here is hostile input: the
// functions accept any bytes and neither read past the end nor allocate.
namespace stallscope::probe {

/// Which probe of which session a packet belongs to. The identifier and the lower 16 bits of the sequence are in the ICMP header,
/// where a tracer in the kernel sees them; token and whole sequence are in the payload, so that another program's echo with the
/// same identifier is not taken for ours.
struct EchoLabel {
  /// In host byte order; htons(identifier) is on the wire.
  std::uint16_t identifier = 0;
  std::uint64_t token = 0;
  std::int64_t sequence = 0;
};

/// ICMP header, token and sequence. Small enough that even the shortest quote of a modern router holds all of it.
inline constexpr std::size_t echo_packet_bytes = 24;
using EchoPacket = std::array<std::byte, echo_packet_bytes>;

/// The messages of RFC 4443 are laid out as those of RFC 792 and have other type numbers. Their checksum covers addresses as well,
/// so the kernel makes and verifies it.
enum class IcmpVersion : std::uint8_t { v4, v6 };

/// A complete echo request without an IP header; for IPv4 with its checksum.
[[nodiscard]] EchoPacket build_echo_request(const EchoLabel& label, IcmpVersion version = IcmpVersion::v4);

/// What an echo reply carries.
struct EchoReply {
  EchoLabel label;
  /// As in the ICMP header; says nothing about the upper bits.
  std::uint16_t wire_sequence = 0;
};

/// Why a packet was not parsed.
enum class EchoFault : std::uint8_t { too_short, bad_checksum, not_an_echo_reply };

struct ParsedReply {
  /// Nothing where there is a fault.
  std::optional<EchoReply> reply;
  EchoFault fault = EchoFault::too_short;
};

/// Parses an ICMP message (no IP header). A payload longer than ours is accepted: some hosts pad.
[[nodiscard]] ParsedReply parse_echo_reply(std::span<const std::byte> icmp, IcmpVersion version = IcmpVersion::v4);

/// What an ICMP error quotes of the request that caused it.
struct QuotedRequest {
  std::uint16_t identifier = 0;
  std::uint16_t wire_sequence = 0;
  /// Nothing where the reporter quoted only the eight bytes RFC 792 asks for.
  std::optional<std::uint64_t> token;
};

/// Parses the quoted ICMP message. Its checksum is not verified: routers may have cut or rewritten it.
[[nodiscard]] std::optional<QuotedRequest> parse_quoted_request(std::span<const std::byte> icmp,
                                                                IcmpVersion version = IcmpVersion::v4);

/// The payload of an IPv4 packet that carries ICMP, options skipped; nothing where the header is malformed or carries another
/// protocol.
[[nodiscard]] std::optional<std::span<const std::byte>> icmp_of_ipv4(std::span<const std::byte> packet);

/// The Internet checksum (RFC 1071) of the bytes, in host byte order. Over a message that contains its own checksum it is 0.
[[nodiscard]] std::uint16_t internet_checksum(std::span<const std::byte> bytes);

/// "host unreachable", "time to live exceeded", ...: the name of an ICMP error, or "ICMP error" for one without a name here.
[[nodiscard]] std::string_view icmp_error_name(std::uint8_t type, std::uint8_t code, IcmpVersion version = IcmpVersion::v4);

}  // namespace stallscope::probe
