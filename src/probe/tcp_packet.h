// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "probe/endpoint.h"

// The bytes of a SYN that is never completed and of what answers it (RFC 9293). Everything parsed here is hostile input: the
// functions accept any bytes and neither read past the end nor allocate.
namespace stallscope::probe {

/// A SYN: TCP header, maximum segment size and timestamps (RFC 7323), as hosts send it.
struct SynPacket {
  Endpoint from;
  Endpoint to;
  /// Initial sequence number; the answer acknowledges it plus one.
  std::uint32_t initial_sequence = 0;
  /// For the timestamp option: what the answer echoes.
  std::uint32_t timestamp = 0;
};

/// Offsets in a TCP header.
inline constexpr std::uint32_t tcp_to_port_at = 2;
inline constexpr std::uint32_t tcp_flags_at = 13;

inline constexpr std::size_t ipv4_header_bytes = 20;
inline constexpr std::size_t syn_bytes = 36;
inline constexpr std::size_t longest_syn_packet_bytes = ipv4_header_bytes + syn_bytes;

/// Writes an IPv4 packet with its header (the kernel fills in the header's checksum), or, for IPv6, the TCP segment alone, whose
/// checksum is left to the kernel (IPV6_CHECKSUM). `to` has room for longest_syn_packet_bytes. Returns what was written.
std::size_t build_syn(const SynPacket& syn, std::span<std::byte> to);

/// Where the kernel finds the checksum of a segment (for IPV6_CHECKSUM).
inline constexpr int tcp_checksum_offset = 16;

enum class TcpAnswerKind : std::uint8_t { syn_ack, reset };

/// A segment that claims to answer a SYN.
struct TcpAnswer {
  TcpAnswerKind kind = TcpAnswerKind::syn_ack;
  std::uint16_t from_port = 0;
  std::uint16_t to_port = 0;
  /// The initial sequence number of the SYN that it acknowledges.
  std::uint32_t initial_sequence = 0;
  /// Its own: a retransmitted SYN-ACK has the same, one for another connection another.
  std::uint32_t far_sequence = 0;
  /// The sender's clock and what it echoes, where the segment has the option.
  std::optional<std::uint32_t> far_timestamp;
  std::optional<std::uint32_t> echoed_timestamp;
};

/// Parses a TCP segment without IP header. Nothing unless it is a SYN-ACK, or a reset that acknowledges something. The checksum is
/// not verified: the kernel drops wrong ones before its sockets see them only for its own, but a wrong acknowledgement number has a
/// chance of 2^-32, and addresses and ports have to agree as well.
[[nodiscard]] std::optional<TcpAnswer> parse_tcp_answer(std::span<const std::byte> segment);

/// What an ICMP error quotes of the SYN that caused it: at least eight bytes of it.
struct QuotedSegment {
  std::uint16_t from_port = 0;
  std::uint16_t to_port = 0;
  std::uint32_t initial_sequence = 0;
};
[[nodiscard]] std::optional<QuotedSegment> parse_quoted_segment(std::span<const std::byte> segment);

/// What is in an IPv4 packet of `protocol`, options skipped; nothing where the header is malformed, a later fragment, or of another
/// protocol.
[[nodiscard]] std::optional<std::span<const std::byte>> payload_of_ipv4(std::span<const std::byte> packet, std::uint8_t protocol);

/// evidence/syn_mark.h: the lower bits lead an answer to its probe, the others are the session's.
[[nodiscard]] std::uint32_t initial_sequence_of(std::uint64_t token, std::int64_t sequence);
/// The newest sequence up to `newest` with these lower bits; negative where there is none.
[[nodiscard]] std::int64_t sequence_of(std::uint32_t initial_sequence, std::int64_t newest);

}  // namespace stallscope::probe
