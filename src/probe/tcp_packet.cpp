// SPDX-License-Identifier: Apache-2.0
#include "probe/tcp_packet.h"

#include <algorithm>

#include "evidence/syn_mark.h"
#include "probe/echo_packet.h"
#include "probe/wire.h"

namespace stallscope::probe {
namespace {

constexpr std::size_t tcp_header_bytes = 20;
constexpr std::size_t sequence_at = 4;
constexpr std::size_t acknowledged_at = 8;
constexpr std::size_t length_at = 12;
constexpr std::size_t window_at = 14;
constexpr std::size_t checksum_at = tcp_checksum_offset;
constexpr unsigned flag_syn = 0x02;
constexpr unsigned flag_reset = 0x04;
constexpr unsigned flag_acknowledged = 0x10;
constexpr std::byte option_end{0};
constexpr std::byte option_nothing{1};
constexpr std::byte option_segment_size{2};
constexpr std::byte option_timestamps{8};
constexpr std::size_t segment_size_option_bytes = 4;
constexpr std::size_t timestamps_option_bytes = 10;
constexpr std::uint16_t segment_size = 1460;
constexpr std::uint16_t window = 64240;

constexpr std::size_t ipv4_total_length_at = 2;
constexpr std::size_t ipv4_fragment_at = 6;
constexpr std::size_t ipv4_ttl_at = 8;
constexpr std::size_t ipv4_protocol_at = 9;
constexpr std::size_t ipv4_source_at = 12;
constexpr std::size_t ipv4_destination_at = 16;
constexpr std::uint8_t protocol_tcp = 6;
constexpr std::uint16_t dont_fragment = 0x4000;
constexpr std::uint16_t fragment_offset_mask = 0x1fff;
constexpr std::byte time_to_live{64};

void build_segment(const SynPacket& syn, std::span<std::byte> to) {
  std::fill(to.begin(), to.begin() + syn_bytes, std::byte{0});
  store_big_endian(to, syn.from.port);
  store_big_endian(to.subspan(tcp_to_port_at), syn.to.port);
  store_big_endian(to.subspan(sequence_at), syn.initial_sequence);
  to[length_at] = static_cast<std::byte>((syn_bytes / 4) << 4U);
  to[tcp_flags_at] = static_cast<std::byte>(flag_syn);
  store_big_endian(to.subspan(window_at), window);
  std::span<std::byte> options = to.subspan(tcp_header_bytes);
  options[0] = option_segment_size;
  options[1] = static_cast<std::byte>(segment_size_option_bytes);
  store_big_endian(options.subspan(2), segment_size);
  options = options.subspan(segment_size_option_bytes);
  options[0] = option_nothing;
  options[1] = option_nothing;
  options[2] = option_timestamps;
  options[3] = static_cast<std::byte>(timestamps_option_bytes);
  store_big_endian(options.subspan(4), syn.timestamp);
}

/// Over the pseudo header of RFC 9293 3.1 and the segment.
std::uint16_t checksum_over_ipv4(const SynPacket& syn, std::span<const std::byte> segment) {
  constexpr std::size_t pseudo_header_bytes = 12;
  std::array<std::byte, pseudo_header_bytes + syn_bytes> summed{};
  auto* end = std::copy(syn.from.bytes().begin(), syn.from.bytes().end(), summed.begin());
  end = std::copy(syn.to.bytes().begin(), syn.to.bytes().end(), end);
  ++end;
  *end++ = std::byte{protocol_tcp};
  store_big_endian(std::span(end, 2), static_cast<std::uint16_t>(syn_bytes));
  std::copy(segment.begin(), segment.end(), end + 2);
  return internet_checksum(summed);
}

void read_timestamps(std::span<const std::byte> options, TcpAnswer& answer) {
  while (!options.empty() && options[0] != option_end) {
    if (options[0] == option_nothing) {
      options = options.subspan(1);
      continue;
    }
    if (options.size() < 2) {
      return;
    }
    const auto length = std::to_integer<std::size_t>(options[1]);
    if (length < 2 || length > options.size()) {
      return;
    }
    if (options[0] == option_timestamps && length == timestamps_option_bytes) {
      answer.far_timestamp = load_big_endian<std::uint32_t>(options.subspan(2));
      answer.echoed_timestamp = load_big_endian<std::uint32_t>(options.subspan(6));
    }
    options = options.subspan(length);
  }
}

}  // namespace

std::size_t build_syn(const SynPacket& syn, std::span<std::byte> to) {
  if (syn.to.family == AF_INET6) {
    build_segment(syn, to);
    return syn_bytes;
  }
  const std::span<std::byte> header = to.first(ipv4_header_bytes);
  const std::span<std::byte> segment = to.subspan(ipv4_header_bytes, syn_bytes);
  std::fill(header.begin(), header.end(), std::byte{0});
  header[0] = std::byte{0x45};
  store_big_endian(header.subspan(ipv4_total_length_at), static_cast<std::uint16_t>(longest_syn_packet_bytes));
  store_big_endian(header.subspan(ipv4_fragment_at), dont_fragment);
  header[ipv4_ttl_at] = time_to_live;
  header[ipv4_protocol_at] = std::byte{protocol_tcp};
  std::copy(syn.from.bytes().begin(), syn.from.bytes().end(), header.begin() + ipv4_source_at);
  std::copy(syn.to.bytes().begin(), syn.to.bytes().end(), header.begin() + ipv4_destination_at);
  build_segment(syn, segment);
  store_big_endian(segment.subspan(checksum_at), checksum_over_ipv4(syn, segment));
  return longest_syn_packet_bytes;
}

std::optional<TcpAnswer> parse_tcp_answer(std::span<const std::byte> segment) {
  if (segment.size() < tcp_header_bytes) {
    return std::nullopt;
  }
  const std::size_t header_bytes = (std::to_integer<std::size_t>(segment[length_at]) >> 4U) * 4;
  const auto flags = std::to_integer<unsigned>(segment[tcp_flags_at]);
  if (header_bytes < tcp_header_bytes || header_bytes > segment.size() || (flags & flag_acknowledged) == 0) {
    return std::nullopt;
  }
  const bool is_reset = (flags & flag_reset) != 0;
  if (!is_reset && (flags & flag_syn) == 0) {
    return std::nullopt;
  }
  TcpAnswer answer;
  answer.kind = is_reset ? TcpAnswerKind::reset : TcpAnswerKind::syn_ack;
  answer.from_port = load_big_endian<std::uint16_t>(segment);
  answer.to_port = load_big_endian<std::uint16_t>(segment.subspan(tcp_to_port_at));
  answer.far_sequence = load_big_endian<std::uint32_t>(segment.subspan(sequence_at));
  answer.initial_sequence = load_big_endian<std::uint32_t>(segment.subspan(acknowledged_at)) - 1;
  read_timestamps(segment.subspan(tcp_header_bytes, header_bytes - tcp_header_bytes), answer);
  return answer;
}

std::optional<QuotedSegment> parse_quoted_segment(std::span<const std::byte> segment) {
  constexpr std::size_t quoted_bytes = 8;
  if (segment.size() < quoted_bytes) {
    return std::nullopt;
  }
  return QuotedSegment{.from_port = load_big_endian<std::uint16_t>(segment),
                       .to_port = load_big_endian<std::uint16_t>(segment.subspan(tcp_to_port_at)),
                       .initial_sequence = load_big_endian<std::uint32_t>(segment.subspan(sequence_at))};
}

std::optional<std::span<const std::byte>> payload_of_ipv4(std::span<const std::byte> packet, std::uint8_t protocol) {
  if (packet.size() < ipv4_header_bytes || (packet[0] >> 4U) != std::byte{4}) {
    return std::nullopt;
  }
  const std::size_t header_bytes = std::to_integer<std::size_t>(packet[0] & std::byte{0x0f}) * 4;
  if (header_bytes < ipv4_header_bytes || header_bytes > packet.size() || packet[ipv4_protocol_at] != std::byte{protocol} ||
      (load_big_endian<std::uint16_t>(packet.subspan(ipv4_fragment_at)) & fragment_offset_mask) != 0) {
    return std::nullopt;
  }
  return packet.subspan(header_bytes);
}

std::uint32_t initial_sequence_of(std::uint64_t token, std::int64_t sequence) {
  return syn_mark(token, static_cast<std::uint32_t>(sequence));
}

std::int64_t sequence_of(std::uint32_t initial_sequence, std::int64_t newest) {
  const std::uint32_t age = (static_cast<std::uint32_t>(newest) - initial_sequence) & SYN_MARK_SEQUENCE_MASK;
  return newest - age;
}

}  // namespace stallscope::probe
