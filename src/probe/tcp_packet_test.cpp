// SPDX-License-Identifier: Apache-2.0
#include "probe/tcp_packet.h"

#include <gtest/gtest.h>

#include <vector>

#include "probe/echo_packet.h"
#include "probe/packet_kind.h"
#include "probe/resolve.h"
#include "probe/udp_packet.h"
#include "probe/wire.h"

namespace stallscope::probe {
namespace {

constexpr std::uint8_t tcp = 6;
constexpr std::uint64_t session_token = 0x1234567890abcdef;

Endpoint endpoint(const std::string& text, std::uint16_t port) {
  Endpoint made = *resolve_endpoint(text);
  made.port = port;
  return made;
}

/// What a host answers to a SYN: as Linux does, with ports turned round.
std::vector<std::byte> answer_to(std::span<const std::byte> syn, std::uint8_t flags, std::uint32_t far_sequence) {
  std::vector<std::byte> answer(syn.begin(), syn.end());
  store_big_endian(std::span(answer), load_big_endian<std::uint16_t>(syn.subspan(2)));
  store_big_endian(std::span(answer).subspan(2), load_big_endian<std::uint16_t>(syn));
  store_big_endian(std::span(answer).subspan(4), far_sequence);
  store_big_endian(std::span(answer).subspan(8), load_big_endian<std::uint32_t>(syn.subspan(4)) + 1);
  answer[13] = std::byte{flags};
  return answer;
}

TEST(SynPacket, IsAValidIpv4PacketWithAChecksumOverThePseudoHeader) {
  std::array<std::byte, longest_syn_packet_bytes> packet{};
  const SynPacket syn{
      .from = endpoint("10.0.1.1", 61'000), .to = endpoint("10.0.1.2", 443), .initial_sequence = 0x01020304, .timestamp = 77};
  ASSERT_EQ(build_syn(syn, packet), longest_syn_packet_bytes);
  const auto segment = payload_of_ipv4(packet, tcp);
  ASSERT_TRUE(segment);
  ASSERT_EQ(segment->size(), syn_bytes);
  std::vector<std::byte> summed(packet.begin() + 12, packet.begin() + 20);
  for (const unsigned byte : {0U, unsigned{tcp}, 0U, static_cast<unsigned>(syn_bytes)}) {
    summed.push_back(static_cast<std::byte>(byte));
  }
  summed.insert(summed.end(), segment->begin(), segment->end());
  EXPECT_EQ(internet_checksum(summed), 0);
  EXPECT_EQ(load_big_endian<std::uint16_t>(*segment), 61'000);
  EXPECT_EQ(load_big_endian<std::uint16_t>(segment->subspan(2)), 443);
  EXPECT_EQ(load_big_endian<std::uint32_t>(segment->subspan(4)), 0x01020304U);
  EXPECT_EQ((*segment)[13], std::byte{2});
}

TEST(TcpAnswer, TellsSynAckFromResetAndReadsTimestamps) {
  std::array<std::byte, longest_syn_packet_bytes> packet{};
  const std::size_t size = build_syn(
      {.from = endpoint("fd00::1", 61'000), .to = endpoint("fd00::2", 80), .initial_sequence = 0xffffffff, .timestamp = 9}, packet);
  ASSERT_EQ(size, syn_bytes) << "the kernel writes the header of IPv6";
  const std::span<const std::byte> syn = std::span(packet).first(size);
  const auto syn_ack = parse_tcp_answer(answer_to(syn, 0x12, 5));
  ASSERT_TRUE(syn_ack);
  EXPECT_EQ(syn_ack->kind, TcpAnswerKind::syn_ack);
  EXPECT_EQ(syn_ack->from_port, 80);
  EXPECT_EQ(syn_ack->to_port, 61'000);
  EXPECT_EQ(syn_ack->initial_sequence, 0xffffffffU) << "across the wrap of the acknowledgement";
  EXPECT_EQ(syn_ack->far_sequence, 5U);
  EXPECT_EQ(syn_ack->far_timestamp, 9U);
  EXPECT_EQ(parse_tcp_answer(answer_to(syn, 0x14, 0))->kind, TcpAnswerKind::reset);
  // Neither answers a SYN: a plain ACK, a FIN, a reset that acknowledges nothing.
  for (const unsigned flags : {0x10U, 0x11U, 0x04U, 0x02U}) {
    EXPECT_FALSE(parse_tcp_answer(answer_to(syn, static_cast<std::uint8_t>(flags), 0)));
  }
}

TEST(TcpAnswer, SurvivesEveryTruncationAndEveryHeaderLength) {
  std::array<std::byte, longest_syn_packet_bytes> packet{};
  const std::size_t size =
      build_syn({.from = endpoint("fd00::1", 1), .to = endpoint("fd00::2", 2), .initial_sequence = 3, .timestamp = 4}, packet);
  std::vector<std::byte> answer = answer_to(std::span(packet).first(size), 0x12, 5);
  for (std::size_t length = 0; length <= answer.size(); ++length) {
    for (unsigned words = 0; words < 16; ++words) {
      answer[12] = static_cast<std::byte>(words << 4U);
      const std::vector<std::byte> cut(answer.begin(), answer.begin() + static_cast<std::ptrdiff_t>(length));
      const auto parsed = parse_tcp_answer(cut);
      EXPECT_EQ(parsed.has_value(), length >= 20 && words >= 5 && words * 4 <= length);
    }
  }
}

TEST(InitialSequence, LeadsBackToItsProbeAcrossTheWrapOfItsBits) {
  for (const std::int64_t newest : {0L, 5L, (1L << 20U) - 1, (1L << 20U) + 17, 3L << 20U}) {
    for (const std::int64_t age : {0L, 1L, 4L, (1L << 20U) - 1}) {
      const std::int64_t sequence = newest - age;
      if (sequence >= 0) {
        EXPECT_EQ(sequence_of(initial_sequence_of(session_token, sequence), newest), sequence);
      }
    }
  }
  // Of a probe that was never sent.
  EXPECT_LT(sequence_of(initial_sequence_of(session_token, 9), 5), 0);
}

TEST(PacketKinds, AnswerOfAnotherSessionIsNotOurs) {
  const auto ours = make_packet_kind(evidence::ProbeKind::tcp_syn, AF_INET6, session_token, 0);
  const auto theirs = make_packet_kind(evidence::ProbeKind::tcp_syn, AF_INET6, session_token + 1, 0);
  std::array<std::byte, longest_syn_packet_bytes> packet{};
  const std::size_t size =
      ours->build({.sequence = 1000, .from = endpoint("fd00::1", 61'000), .to = endpoint("fd00::2", 80)}, packet);
  const std::vector<std::byte> answer = answer_to(std::span(packet).first(size), 0x12, 5);
  bool malformed = false;
  const auto marked = ours->parse_answer(answer, 1005, malformed);
  ASSERT_TRUE(marked);
  EXPECT_EQ(marked->sequence, 1000);
  EXPECT_EQ(marked->target_port, 80);
  EXPECT_EQ(marked->source_port, 61'000);
  EXPECT_FALSE(theirs->parse_answer(answer, 1005, malformed));
  const auto quoted = ours->parse_quoted(std::span(packet).first(8), 1005);
  ASSERT_TRUE(quoted);
  EXPECT_EQ(quoted->sequence, 1000);
}

TEST(PacketKinds, EchoOverIpv6UsesItsOwnTypes) {
  const auto kind = make_packet_kind(evidence::ProbeKind::icmp_echo, AF_INET6, session_token, 77);
  std::array<std::byte, longest_syn_packet_bytes> packet{};
  const std::size_t size = kind->build({.sequence = 70'000, .from = {}, .to = endpoint("fd00::2", 0)}, packet);
  EXPECT_EQ(packet[0], std::byte{128});
  bool malformed = false;
  EXPECT_FALSE(kind->parse_answer(std::span(packet).first(size), 70'000, malformed)) << "a request is no reply";
  packet[0] = std::byte{129};
  const auto marked = kind->parse_answer(std::span(packet).first(size), 70'000, malformed);
  ASSERT_TRUE(marked);
  EXPECT_EQ(marked->sequence, 70'000);
}

TEST(UdpPacket, AnswerCarriesTimesAndIsAsLongAsTheProbe) {
  UdpPacket packet{};
  build_udp_probe({.token = session_token, .sequence = 12}, packet);
  EXPECT_TRUE(is_udp_probe(packet));
  EXPECT_FALSE(parse_udp_answer(packet));
  make_udp_answer(packet, 100, 130);
  EXPECT_FALSE(is_udp_probe(packet)) << "two responders would answer each other for ever";
  const auto answer = parse_udp_answer(packet);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->label.sequence, 12);
  EXPECT_EQ(answer->far_sent_ns - answer->far_received_ns, 30);
  make_udp_answer(packet, 130, 100);
  EXPECT_FALSE(parse_udp_answer(packet)) << "sent before it was received";
}

TEST(UdpPacket, NothingButAProbeIsAnswered) {
  UdpPacket packet{};
  build_udp_probe({.token = 1, .sequence = 2}, packet);
  for (std::size_t length = 0; length < packet.size(); ++length) {
    EXPECT_FALSE(is_udp_probe(std::span(packet).first(length)));
  }
  std::vector<std::byte> longer(packet.begin(), packet.end());
  longer.push_back(std::byte{0});
  EXPECT_FALSE(is_udp_probe(longer));
  for (std::size_t i = 0; i < 6; ++i) {
    UdpPacket changed = packet;
    changed.at(i) ^= std::byte{0xff};
    EXPECT_FALSE(is_udp_probe(changed)) << i;
  }
}

}  // namespace
}  // namespace stallscope::probe
