// SPDX-License-Identifier: Apache-2.0
#include "probe/echo_packet.h"

#include <gtest/gtest.h>

#include <vector>

namespace stallscope::probe {
namespace {

using Bytes = std::vector<std::byte>;

constexpr EchoLabel label{.identifier = 0x1234, .token = 0x0102030405060708, .sequence = 0x1'0000'fffe};

/// What a host makes of our request: type 0, checksum anew.
Bytes reply_to(const EchoPacket& request) {
  Bytes reply(request.begin(), request.end());
  reply[0] = std::byte{0};
  reply[2] = reply[3] = std::byte{0};
  const std::uint16_t checksum = internet_checksum(reply);
  reply[2] = static_cast<std::byte>(checksum >> 8U);
  reply[3] = static_cast<std::byte>(checksum & 0xffU);
  return reply;
}

TEST(InternetChecksum, AgreesWithRfc1071) {
  const Bytes example = {std::byte{0x00}, std::byte{0x01}, std::byte{0xf2}, std::byte{0x03},
                         std::byte{0xf4}, std::byte{0xf5}, std::byte{0xf6}, std::byte{0xf7}};
  EXPECT_EQ(internet_checksum(example), 0x220d);  // section 3: the sum is ddf2, the checksum its complement
  EXPECT_EQ(internet_checksum(std::span(example).first(3)), 0x0dfe);
}

TEST(EchoRequest, HasTheLayoutOfRfc792) {
  const EchoPacket packet = build_echo_request(label);
  EXPECT_EQ(packet[0], std::byte{8});
  EXPECT_EQ(packet[4], std::byte{0x12});
  EXPECT_EQ(packet[5], std::byte{0x34});
  EXPECT_EQ(packet[6], std::byte{0xff});
  EXPECT_EQ(packet[7], std::byte{0xfe});
  EXPECT_EQ(internet_checksum(packet), 0);
}

TEST(EchoReply, ReturnsTheLabelOfItsRequest) {
  const ParsedReply parsed = parse_echo_reply(reply_to(build_echo_request(label)));
  ASSERT_TRUE(parsed.reply);
  EXPECT_EQ(parsed.reply->label.identifier, label.identifier);
  EXPECT_EQ(parsed.reply->label.token, label.token);
  EXPECT_EQ(parsed.reply->label.sequence, label.sequence);
  EXPECT_EQ(parsed.reply->wire_sequence, 0xfffe);
}

TEST(EchoReply, TellsWhyItWasNotParsed) {
  Bytes cut = reply_to(build_echo_request(label));
  cut.pop_back();
  EXPECT_EQ(parse_echo_reply(cut).fault, EchoFault::too_short);
  EXPECT_FALSE(parse_echo_reply(cut).reply);
  EXPECT_FALSE(parse_echo_reply({}).reply);

  Bytes flipped = reply_to(build_echo_request(label));
  flipped[20] ^= std::byte{1};
  EXPECT_EQ(parse_echo_reply(flipped).fault, EchoFault::bad_checksum);
  EXPECT_FALSE(parse_echo_reply(flipped).reply);

  EXPECT_EQ(parse_echo_reply(build_echo_request(label)).fault, EchoFault::not_an_echo_reply);
}

TEST(QuotedRequest, NeedsTheHeaderAloneAndTakesTheTokenWhereItIsQuoted) {
  const EchoPacket packet = build_echo_request(label);
  const std::optional<QuotedRequest> whole = parse_quoted_request(packet);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->identifier, label.identifier);
  EXPECT_EQ(whole->wire_sequence, 0xfffe);
  EXPECT_EQ(whole->token, label.token);

  const std::optional<QuotedRequest> header = parse_quoted_request(std::span(packet).first(8));
  ASSERT_TRUE(header);
  EXPECT_FALSE(header->token);
  EXPECT_FALSE(parse_quoted_request(std::span(packet).first(7)));
  EXPECT_FALSE(parse_quoted_request(reply_to(packet)));
}

TEST(Ipv4, HeaderWithOptionsIsSkippedAndAMalformedOneRefused) {
  Bytes packet(28 + echo_packet_bytes);
  packet[0] = std::byte{0x47};
  packet[9] = std::byte{1};
  ASSERT_TRUE(icmp_of_ipv4(packet));
  EXPECT_EQ(icmp_of_ipv4(packet)->size(), echo_packet_bytes);

  packet[9] = std::byte{17};  // UDP
  EXPECT_FALSE(icmp_of_ipv4(packet));
  packet[9] = std::byte{1};
  packet[0] = std::byte{0x67};  // IPv6
  EXPECT_FALSE(icmp_of_ipv4(packet));
  packet[0] = std::byte{0x44};  // a header of 16 bytes
  EXPECT_FALSE(icmp_of_ipv4(packet));
  packet[0] = std::byte{0x4f};  // a header of 60 bytes
  EXPECT_FALSE(icmp_of_ipv4(packet));
  EXPECT_FALSE(icmp_of_ipv4(std::span(packet).first(19)));
}

TEST(IcmpError, IsNamedByTypeAndCode) {
  EXPECT_EQ(icmp_error_name(3, 1), "host unreachable");
  EXPECT_EQ(icmp_error_name(3, 15), "precedence cutoff");
  EXPECT_EQ(icmp_error_name(3, 16), "ICMP error");
  EXPECT_EQ(icmp_error_name(11, 0), "time to live exceeded");
}

}  // namespace
}  // namespace stallscope::probe
