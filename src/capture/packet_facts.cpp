// SPDX-License-Identifier: Apache-2.0
#include "capture/packet_facts.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

namespace stallscope::capture {
namespace {

/// An order of the two ends of a connection, so that both directions have one key.
bool comes_first(const std::uint8_t* address, std::uint16_t port, const std::uint8_t* other, std::uint16_t other_port, bool v6) {
  if (!v6) {
    // At once, as which one comes first cannot be foretold.
    return ((std::uint64_t{load_be<std::uint32_t>(address)} << 16U) | port) <=
           ((std::uint64_t{load_be<std::uint32_t>(other)} << 16U) | other_port);
  }
  const int addresses = std::memcmp(address, other, 16);
  return addresses < 0 || (addresses == 0 && port <= other_port);
}

}  // namespace

ExchangeKey connection_key(const ExchangeKey& directed, bool& from_near) {
  from_near = comes_first(directed.near.data(), directed.near_port, directed.far.data(), directed.far_port, directed.v6);
  ExchangeKey key = directed;
  key.kind = ExchangeKind::data;
  if (!from_near) {
    std::swap(key.near, key.far);
    std::swap(key.near_port, key.far_port);
  }
  return key;
}

std::uint16_t FactReader::count(const Packet& packet, const Decoded& decoded) {
  if (counts_.packet_count++ == 0) {
    counts_.first_ns = packet.time_ns;
    counts_.last_ns = packet.time_ns;
  }
  // Most packets have one IP header, are whole and no older than those before them, so that there is nothing to count.
  if (decoded.ip_count != 1 || decoded.truncated || decoded.fragment) {
    counts_.other_count += decoded.ip_count == 0 && !decoded.truncated ? 1 : 0;
    counts_.truncated_count += decoded.truncated ? 1 : 0;
    counts_.fragment_count += decoded.fragment ? 1 : 0;
    counts_.tunnelled_count += decoded.ip_count > 1 ? 1 : 0;
  }
  if (packet.time_ns >= counts_.last_ns) {
    counts_.last_ns = packet.time_ns;
    return 0;
  }
  ++counts_.backwards_count;
  counts_.first_ns = std::min(counts_.first_ns, packet.time_ns);
  const std::int64_t queued_ns = counts_.last_ns - packet.time_ns;
  return static_cast<std::uint16_t>(
      std::min<std::int64_t>(queued_ns / Observation::ns_per_queued_tick, std::numeric_limits<std::uint16_t>::max()));
}

bool FactReader::read(const Packet& packet, const Decoded& decoded, PacketFacts& facts) {
  facts.queued_ticks = count(packet, decoded);
  const bool tcp = decoded.transport == Transport::tcp;
  if (!tcp && decoded.transport != Transport::icmp_echo_request && decoded.transport != Transport::icmp_echo_reply) {
    return false;
  }
  const IpHeader& ip = decoded.inner();
  facts.segment.time_ns = packet.time_ns;
  facts.segment.packet = packet.number;
  facts.segment.hops_left = ip.hops_left;
  if (tcp) {
    take_tcp(decoded, facts);
  } else {
    take_echo(decoded, facts);
  }
  if (facts.kind == PacketFacts::Kind::segment) {
    return read_segment(decoded, facts);
  }
  const bool reverse = facts.kind == PacketFacts::Kind::answer;
  const std::uint8_t* const near = reverse ? ip.destination : ip.source;
  const std::uint8_t* const far = reverse ? ip.source : ip.destination;
  if (tcp) {
    const std::uint16_t near_port = reverse ? decoded.destination_port : decoded.source_port;
    const std::uint16_t far_port = reverse ? decoded.source_port : decoded.destination_port;
    facts.key = std::bit_cast<ExchangeKey>(key_words(ExchangeKind::handshake, ip.v6, near, far, near_port, far_port));
  } else {
    facts.key = std::bit_cast<ExchangeKey>(key_words(ExchangeKind::echo, ip.v6, near, far, decoded.echo_id, decoded.echo_sequence));
  }
  return true;
}

bool FactReader::read_segment(const Decoded& decoded, PacketFacts& facts) {
  // Without data there is nothing to follow.
  data_seen_ = data_seen_ || facts.segment.payload_bytes > 0;
  if (!data_seen_) {
    return false;
  }
  const IpHeader& ip = decoded.inner();
  const bool from_near = comes_first(ip.source, decoded.source_port, ip.destination, decoded.destination_port, ip.v6);
  facts.segment.from_near = from_near;
  facts.key = std::bit_cast<ExchangeKey>(key_words(
      ExchangeKind::data, ip.v6, from_near ? ip.source : ip.destination, from_near ? ip.destination : ip.source,
      from_near ? decoded.source_port : decoded.destination_port, from_near ? decoded.destination_port : decoded.source_port));
  return true;
}

void FactReader::take_tcp(const Decoded& decoded, PacketFacts& facts) {
  facts.segment.flags = decoded.tcp_flags;
  facts.segment.sequence = decoded.tcp_sequence;
  facts.segment.acknowledgement = decoded.tcp_acknowledgement;
  facts.segment.payload_bytes = decoded.fragment ? 0 : decoded.tcp_payload_bytes;
  facts.segment.has_timestamps = decoded.has_timestamps;
  facts.segment.timestamp = decoded.timestamp_value;
  facts.segment.timestamp_echo = decoded.timestamp_echo;
  facts.answer = evidence::AnswerKind::none;
  constexpr std::uint8_t deciding = tcp_flag::syn | tcp_flag::ack | tcp_flag::rst;
  if (decoded.is(tcp_flag::syn, deciding)) {
    facts.kind = PacketFacts::Kind::request;
  } else if (decoded.is(tcp_flag::syn | tcp_flag::ack, deciding)) {
    facts.kind = PacketFacts::Kind::answer;
    facts.answer = evidence::AnswerKind::syn_ack;
  } else if (decoded.is(tcp_flag::rst | tcp_flag::ack, tcp_flag::rst | tcp_flag::ack)) {
    facts.kind = PacketFacts::Kind::answer;
    facts.answer = evidence::AnswerKind::reset;
  } else {
    facts.kind = PacketFacts::Kind::segment;
  }
}

void FactReader::take_echo(const Decoded& decoded, PacketFacts& facts) {
  const bool answers = decoded.transport == Transport::icmp_echo_reply;
  facts.kind = answers ? PacketFacts::Kind::answer : PacketFacts::Kind::request;
  facts.answer = answers ? evidence::AnswerKind::echo_reply : evidence::AnswerKind::none;
  facts.segment.sequence = 0;
  facts.segment.has_timestamps = false;
  facts.segment.timestamp = decoded.echo_mark;
}

}  // namespace stallscope::capture
