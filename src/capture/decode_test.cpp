// SPDX-License-Identifier: Apache-2.0
#include "capture/decode.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "capture/testing.h"

namespace stallscope::capture {
namespace {

using namespace testing;

/// Keeps the packet, into which the result points.
struct DecodedPacket : Decoded {
  Buffer bytes;
};

DecodedPacket decoded(const Buffer& packet, std::uint32_t link = link_type::ethernet) {
  DecodedPacket out;
  // A buffer of just this size, so that the sanitizer sees a byte too many.
  out.bytes = Buffer(packet.begin(), packet.end());
  decode(out.bytes, link, out);
  return out;
}

Buffer syn() {
  return ipv4(client, server, protocol::tcp, tcp(40'000, 443, 1000, 0, 0x02, 77));
}

void expect_syn(const Decoded& out, std::size_t headers = 1) {
  ASSERT_EQ(out.ip_count, headers);
  EXPECT_EQ(out.transport, Transport::tcp);
  EXPECT_EQ(out.source_port, 40'000);
  EXPECT_EQ(out.destination_port, 443);
  EXPECT_EQ(out.tcp_sequence, 1000U);
  EXPECT_TRUE(out.is(tcp_flag::syn, tcp_flag::syn | tcp_flag::ack));
  EXPECT_TRUE(out.has_timestamps);
  EXPECT_EQ(out.timestamp_value, 77U);
}

TEST(Decode, LinkLayers) {
  expect_syn(decoded(ethernet(0x0800, syn())));
  Buffer tagged = {0, 5, 0x81, 0, 0, 7, 8, 0};
  append(tagged, syn());
  expect_syn(decoded(ethernet(0x88a8, tagged)));
  Buffer cooked(14, 0);
  append(cooked, {8, 0});
  append(cooked, syn());
  expect_syn(decoded(cooked, link_type::linux_cooked));
  Buffer cooked_2 = {8, 0};
  cooked_2.resize(20, 0);
  append(cooked_2, syn());
  expect_syn(decoded(cooked_2, link_type::linux_cooked_2));
  for (const std::uint32_t link : {link_type::raw_ip, link_type::dlt_raw, link_type::ipv4}) {
    expect_syn(decoded(syn(), link));
  }
  Buffer loopback = {2, 0, 0, 0};
  append(loopback, syn());
  expect_syn(decoded(loopback, link_type::null_loopback));
  expect_syn(decoded(loopback, link_type::loop));
  EXPECT_EQ(decoded(syn(), 147).ip_count, 0U);
}

TEST(Decode, Ipv6WithExtensionHeaders) {
  Buffer extended = {44, 0, 0, 0, 0, 0, 0, 0};  // hop-by-hop, then a fragment header:
  append(extended, {6, 0, 0, 1, 0, 0, 0, 9});   // the first fragment
  append(extended, tcp(40'000, 443, 1000, 0, 0x02, 77));
  const DecodedPacket out = decoded(ethernet(0x86dd, ipv6(1, 2, 0, extended)));
  expect_syn(out);
  EXPECT_TRUE(out.fragment);
  EXPECT_EQ(out.inner().id, 9U);
  EXPECT_EQ(out.inner().source[15], 1);
  // A later fragment has no ports, whatever its bytes look like.
  Buffer later = {6, 0, 0, 9, 0, 0, 0, 9};
  append(later, tcp(40'000, 443, 1000, 0, 0x02));
  EXPECT_EQ(decoded(ipv6(1, 2, 44, later), link_type::raw_ip).transport, Transport::none);
}

TEST(Decode, LaterFragmentsOfIpv4HaveNoTransport) {
  const Buffer body = tcp(40'000, 443, 1000, 0, 0x02);
  EXPECT_EQ(decoded(ipv4(client, server, 6, body, 0x2000), link_type::raw_ip).transport, Transport::tcp);
  const DecodedPacket later = decoded(ipv4(client, server, 6, body, 0x0005), link_type::raw_ip);
  EXPECT_EQ(later.transport, Transport::none);
  EXPECT_TRUE(later.fragment);
}

Buffer udp(std::uint16_t destination, const Buffer& payload) {
  Buffer out;
  put_be16(out, 55'555);
  put_be16(out, destination);
  put_be16(out, static_cast<std::uint32_t>(8 + payload.size()));
  put_be16(out, 0);
  append(out, payload);
  return out;
}

TEST(Decode, TunnelsKeepBothHeaders) {
  const DecodedPacket ipip = decoded(ipv4(1, 2, protocol::ipv4, syn()), link_type::raw_ip);
  expect_syn(ipip, 2);
  EXPECT_EQ(ipip.inner().inside, Tunnel::ip_in_ip);
  EXPECT_EQ(ipip.ip[0].source[3], 1);
  EXPECT_EQ(ipip.inner().source[3], 1);
  EXPECT_EQ(ipip.inner().source[0], 10);

  Buffer gre = {0x20, 0, 0x08, 0, 0, 0, 0, 42};  // with a key
  append(gre, syn());
  expect_syn(decoded(ipv4(1, 2, protocol::gre, gre), link_type::raw_ip), 2);

  Buffer vxlan = {8, 0, 0, 0, 0, 0, 1, 0};
  append(vxlan, ethernet(0x0800, syn()));
  const DecodedPacket in_vxlan = decoded(ipv4(1, 2, protocol::udp, udp(4789, vxlan)), link_type::raw_ip);
  expect_syn(in_vxlan, 2);
  EXPECT_EQ(in_vxlan.inner().inside, Tunnel::vxlan);

  Buffer geneve = {1, 0, 0x65, 0x58, 0, 0, 1, 0, 9, 9, 9, 9};  // with four bytes of options
  append(geneve, ethernet(0x0800, syn()));
  expect_syn(decoded(ipv4(1, 2, protocol::udp, udp(6081, geneve)), link_type::raw_ip), 2);

  // A port alone makes no tunnel.
  const DecodedPacket plain = decoded(ipv4(1, 2, protocol::udp, udp(4789, Buffer(40, 0xff))), link_type::raw_ip);
  EXPECT_EQ(plain.ip_count, 1U);
  EXPECT_EQ(plain.transport, Transport::udp);
  EXPECT_EQ(plain.destination_port, 4789);
}

TEST(Decode, Echoes) {
  const DecodedPacket request = decoded(ipv4(client, server, 1, echo(8, 7, 9)), link_type::raw_ip);
  EXPECT_EQ(request.transport, Transport::icmp_echo_request);
  EXPECT_EQ(request.echo_id, 7);
  EXPECT_EQ(request.echo_sequence, 9);
  EXPECT_EQ(decoded(ipv4(client, server, 1, echo(0, 7, 9)), link_type::raw_ip).transport, Transport::icmp_echo_reply);
  EXPECT_EQ(decoded(ipv4(client, server, 1, echo(3, 7, 9)), link_type::raw_ip).transport, Transport::icmp_other);
  EXPECT_EQ(decoded(ipv6(1, 2, 58, echo(129, 7, 9)), link_type::raw_ip).transport, Transport::icmp_echo_reply);
}

TEST(Decode, PacketsCutAtAnyByteAreSafeAndSaySo) {
  Buffer vxlan = {8, 0, 0, 0, 0, 0, 1, 0};
  append(vxlan, ethernet(0x0800, syn()));
  const Buffer whole = ethernet(0x0800, ipv4(1, 2, protocol::udp, udp(4789, vxlan)));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Buffer cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const DecodedPacket out = decoded(cut);
    EXPECT_TRUE(out.truncated || out.transport == Transport::udp) << size;
  }
  expect_syn(decoded(whole), 2);
}

void expect_same(const Decoded& a, const Decoded& b) {
  ASSERT_EQ(a.ip_count, b.ip_count);
  for (std::size_t at = 0; at < a.ip_count; ++at) {
    ASSERT_EQ(a.ip[at].v6, b.ip[at].v6);
    ASSERT_EQ(a.ip[at].protocol, b.ip[at].protocol);
    ASSERT_EQ(a.ip[at].inside, b.ip[at].inside);
    ASSERT_EQ(a.ip[at].hops_left, b.ip[at].hops_left);
    ASSERT_EQ(a.ip[at].id, b.ip[at].id);
    ASSERT_EQ(std::memcmp(a.ip[at].source, b.ip[at].source, a.ip[at].address_size()), 0);
    ASSERT_EQ(std::memcmp(a.ip[at].destination, b.ip[at].destination, a.ip[at].address_size()), 0);
  }
  ASSERT_EQ(a.transport, b.transport);
  ASSERT_EQ(a.truncated, b.truncated);
  ASSERT_EQ(a.fragment, b.fragment);
  ASSERT_EQ(a.tcp_flags, b.tcp_flags);
  ASSERT_EQ(a.has_timestamps, b.has_timestamps);
  ASSERT_EQ(a.timestamp_value, b.timestamp_value);
  ASSERT_EQ(a.timestamp_echo, b.timestamp_echo);
  ASSERT_EQ(a.source_port, b.source_port);
  ASSERT_EQ(a.destination_port, b.destination_port);
  ASSERT_EQ(a.tcp_sequence, b.tcp_sequence);
  ASSERT_EQ(a.tcp_acknowledgement, b.tcp_acknowledgement);
  ASSERT_EQ(a.tcp_payload_bytes, b.tcp_payload_bytes);
  ASSERT_EQ(a.echo_id, b.echo_id);
  ASSERT_EQ(a.echo_sequence, b.echo_sequence);
  ASSERT_EQ(a.echo_mark, b.echo_mark);
}

TEST(Decode, TheShortcutFindsWhatTheStepsFind) {
  // A VLAN's tag keeps a packet off the shortcut.
  const auto compare = [](const Buffer& ip, std::size_t size) {
    Buffer tag = {0, 5, 0x08, 0};
    append(tag, ip);
    Buffer plain = ethernet(0x0800, ip);
    Buffer tagged = ethernet(0x8100, tag);
    plain.resize(std::min(plain.size(), 14 + size));
    tagged.resize(std::min(tagged.size(), 18 + size));
    expect_same(decoded(plain), decoded(tagged));
  };
  Buffer padded = ipv4(client, server, protocol::tcp, tcp(1, 2, 3, 4, 0x12));
  padded.resize(padded.size() + 12, 1);
  const std::vector<Buffer> packets = {syn(),
                                       padded,
                                       ipv4(client, server, protocol::icmp, echo(8, 7, 9)),
                                       ipv4(client, server, protocol::icmp, echo(0, 7, 9)),
                                       ipv4(client, server, protocol::udp, Buffer(20, 3)),
                                       ipv4(client, server, protocol::ipv4, syn())};
  for (const Buffer& packet : packets) {
    for (std::size_t size = 0; size <= packet.size(); ++size) {
      ASSERT_NO_FATAL_FAILURE(compare(packet, size)) << size;
    }
    // Each byte with each value: lengths that lie, options, fragments, other protocols.
    for (std::size_t at = 0; at < packet.size(); ++at) {
      for (unsigned value = 0; value < 256; ++value) {
        Buffer changed = packet;
        changed[at] = static_cast<std::uint8_t>(value);
        ASSERT_NO_FATAL_FAILURE(compare(changed, changed.size())) << "byte " << at << " is " << value;
      }
    }
  }
}

TEST(Decode, LoopsOfHeadersEnd) {
  Buffer nested = syn();
  for (int depth = 0; depth < 50; ++depth) {
    nested = ipv4(1, 2, protocol::ipv4, nested);
  }
  EXPECT_EQ(decoded(nested, link_type::raw_ip).ip_count, most_ip_headers);
  Buffer options;
  for (int header = 0; header < 100; ++header) {
    append(options, {60, 0, 0, 0, 0, 0, 0, 0});
  }
  EXPECT_EQ(decoded(ipv6(1, 2, 60, options), link_type::raw_ip).transport, Transport::none);
  Buffer tags;
  for (int tag = 0; tag < 100; ++tag) {
    append(tags, {0, 1, 0x81, 0});
  }
  EXPECT_EQ(decoded(ethernet(0x8100, tags)).ip_count, 0U);
}

TEST(Decode, LengthsThatLieAreNotBelieved) {
  Buffer packet = syn();
  packet[0] = 0x4f;  // a header of 60 bytes in a packet of 52
  EXPECT_EQ(decoded(packet, link_type::raw_ip).transport, Transport::none);
  packet = syn();
  packet[3] = 21;  // a total length that has no room for TCP
  EXPECT_EQ(decoded(packet, link_type::raw_ip).transport, Transport::none);
  packet = syn();
  packet[20 + 12] = 0x10;  // a TCP header of 4 bytes
  EXPECT_EQ(decoded(packet, link_type::raw_ip).transport, Transport::none);
  packet = syn();
  packet[20 + 21] = 3;  // an unknown option of length 1
  packet[20 + 22] = 99;
  packet[20 + 23] = 1;
  EXPECT_FALSE(decoded(packet, link_type::raw_ip).has_timestamps);
}

TEST(Decode, PaddingIsNoTcpOption) {
  // A header that claims eight words, of which the packet has five and the frame's padding the rest: a timestamp option.
  Buffer segment = tcp(1, 2, 3, 4, 0x10);
  segment[12] = 0x80;
  Buffer frame = ethernet(0x0800, ipv4(client, server, 6, segment));
  for (const std::uint8_t byte : Buffer{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}) {
    frame.push_back(byte);
  }
  EXPECT_FALSE(decoded(frame).has_timestamps);
}

}  // namespace
}  // namespace stallscope::capture
