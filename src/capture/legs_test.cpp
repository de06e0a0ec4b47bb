// SPDX-License-Identifier: Apache-2.0
#include "capture/legs.h"

#include <gtest/gtest.h>

#include <deque>

#include "base/units.h"
#include "capture/analysis.h"
#include "capture/evidence.h"
#include "capture/testing.h"

namespace stallscope::capture {
namespace {

using namespace testing;
using base::ns_per_ms;

constexpr std::int64_t origin_ns = 1'700'000'000'000'000'000;
constexpr std::uint32_t node = 0x0a000102;
constexpr std::uint32_t virtual_address = 0x0a600001;
constexpr std::uint32_t pod = 0x0af40005;

/// What a host that forwards sees of its packets.
class Forwarded {
 public:
  void add(std::int64_t us, std::uint8_t hops_left, Buffer packet) {
    constexpr std::size_t ttl_at = 8;
    packet[ttl_at] = hops_left;
    bytes_.push_back(std::move(packet));
    packets_.push_back({origin_ns + (us * base::ns_per_us), bytes_.back(), static_cast<std::uint32_t>(bytes_.back().size()),
                        link_type::raw_ip, 0, static_cast<std::uint32_t>(packets_.size() + 1)});
  }
  void ask(std::int64_t us, std::uint8_t hops_left, std::uint32_t from, std::uint16_t port, std::uint32_t to, std::uint16_t to_port,
           std::uint32_t timestamp = 777) {
    add(us, hops_left, ipv4(from, to, 6, tcp(port, to_port, 5'000, 0, tcp_flag::syn, timestamp)));
  }
  void answer(std::int64_t us, std::uint8_t hops_left, std::uint32_t from, std::uint16_t port, std::uint32_t to,
              std::uint16_t to_port) {
    add(us, hops_left, ipv4(from, to, 6, tcp(port, to_port, 9'000, 5'001, tcp_flag::syn | tcp_flag::ack, 888, 777)));
  }
  [[nodiscard]] Findings run() const {
    Analysis analysis(false);
    analysis.add(packets_);
    return analysis.finish();
  }

 private:
  std::deque<Buffer> bytes_;
  std::vector<Packet> packets_;
};

TEST(Legs, OfATranslatedConnectionAreOneExchange) {
  Forwarded seen;
  seen.ask(0, 64, client, 40'000, virtual_address, 80);
  seen.ask(30'000, 63, client, 40'000, pod, 8080);
  seen.answer(31'000, 64, pod, 8080, client, 40'000);
  seen.answer(33'000, 63, virtual_address, 80, client, 40'000);
  const Findings findings = seen.run();
  ASSERT_EQ(findings.exchanges.size(), 1U);
  const Observation& exchange = findings.exchanges[0];
  EXPECT_EQ(address_text(exchange.key.far, false), "10.96.0.1");
  EXPECT_EQ(exchange.rtt_ns(), 33 * ns_per_ms);
  EXPECT_EQ(exchange.leg_count, 2);
  EXPECT_EQ(exchange.request_passed_us, 30'000U);
  EXPECT_EQ(exchange.answer_passed_us, 2'000U);
  EXPECT_EQ(findings.legs.joined_count, 1);
  EXPECT_EQ(findings.legs.ambiguous_count, 0);
}

TEST(Legs, AreFollowedThroughBothTranslations) {
  Forwarded seen;
  // To a port of the node, translated in both addresses, then again on the way out. Without an answer.
  seen.ask(0, 64, client, 40'000, node, 30'080);
  seen.ask(10, 63, node, 51'000, pod, 8080);
  seen.ask(20, 62, virtual_address, 52'000, pod, 8080);
  const Findings findings = seen.run();
  ASSERT_EQ(findings.exchanges.size(), 1U);
  EXPECT_EQ(findings.exchanges[0].leg_count, 3);
  EXPECT_EQ(findings.exchanges[0].request_passed_us, 20U);
  EXPECT_FALSE(findings.exchanges[0].answered());
}

TEST(Legs, OfAnEchoAreToldByItsData) {
  Forwarded seen;
  seen.add(0, 64, ipv4(client, virtual_address, 1, echo(8, 1'000, 7)));
  seen.add(50, 63, ipv4(node, pod, 1, echo(8, 2'000, 7)));
  seen.add(900, 64, ipv4(pod, node, 1, echo(0, 2'000, 7)));
  seen.add(950, 63, ipv4(virtual_address, client, 1, echo(0, 1'000, 7)));
  // The next one of the same program, with other data, is another exchange.
  Buffer other = echo(8, 2'000, 7);
  other.back() = 0x66;
  seen.add(960, 62, ipv4(client, pod, 1, other));
  const Findings findings = seen.run();
  ASSERT_EQ(findings.exchanges.size(), 2U);
  EXPECT_EQ(findings.exchanges[0].leg_count, 2);
  EXPECT_EQ(findings.exchanges[0].request_passed_us, 50U);
  EXPECT_EQ(findings.exchanges[0].answer_passed_us, 50U);
}

TEST(Legs, OfDataAreOneExchange) {
  Forwarded seen;
  const auto data = [](std::uint16_t port, std::uint16_t to_port, std::uint32_t sequence) {
    Buffer segment = tcp(port, to_port, sequence, 1, 0x10, 777, 1);
    segment.resize(segment.size() + 1'448, 0x55);
    return segment;
  };
  for (const std::uint32_t sequence : {5'000U, 6'448U}) {
    seen.add(sequence, 64, ipv4(client, virtual_address, 6, data(40'000, 80, sequence)));
    seen.add(sequence + 40, 63, ipv4(client, pod, 6, data(40'000, 8080, sequence)));
  }
  seen.add(9'000, 64, ipv4(pod, client, 6, tcp(8080, 40'000, 1, 7'896, 0x10, 2, 777)));
  seen.add(9'010, 63, ipv4(virtual_address, client, 6, tcp(80, 40'000, 1, 7'896, 0x10, 2, 777)));
  const Findings findings = seen.run();
  ASSERT_EQ(findings.exchanges.size(), 1U);
  EXPECT_EQ(findings.exchanges[0].key.kind, ExchangeKind::data);
  EXPECT_EQ(findings.exchanges[0].leg_count, 2);
  EXPECT_EQ(findings.exchanges[0].request_passed_us, 40U);
}

TEST(Legs, APacketThatATunnelHeldIsNoRetransmission) {
  Forwarded seen;
  const auto request = [] { return ipv4(client, pod, 6, tcp(40'000, 80, 5'000, 0, tcp_flag::syn, 777)); };
  seen.add(0, 64, request());
  Buffer inner = request();
  inner[8] = 63;
  seen.add(30'000, 64, ipv4(node, virtual_address, 4, inner));
  seen.answer(31'000, 64, pod, 80, client, 40'000);
  const Findings findings = seen.run();
  ASSERT_EQ(findings.exchanges.size(), 1U);
  EXPECT_EQ(findings.counts.resent_count, 0);
  EXPECT_EQ(findings.counts.duplicate_count, 1);
  EXPECT_EQ(findings.exchanges[0].rtt_ns(), 31 * ns_per_ms);
  EXPECT_EQ(findings.exchanges[0].request_passed_us, 30'000U);
  EXPECT_EQ(findings.exchanges[0].leg_count, 1);
}

TEST(Legs, OfDifferentPacketsAreNone) {
  Forwarded seen;
  // The same number, but sent at another time.
  seen.ask(0, 64, client, 40'000, virtual_address, 80, 777);
  seen.ask(10, 63, client, 40'000, pod, 8080, 778);
  // The same number and time a minute later.
  constexpr std::int64_t us_per_minute = 60'000'000;
  seen.ask(us_per_minute, 62, client, 40'001, pod, 8080, 777);
  const Findings findings = seen.run();
  EXPECT_EQ(findings.exchanges.size(), 3U);
  EXPECT_EQ(findings.legs.joined_count, 0);
  EXPECT_EQ(findings.legs.ambiguous_count, 0);
}

TEST(Legs, ThatFitInSeveralWaysStayApart) {
  Forwarded two_inner;
  two_inner.ask(0, 64, client, 40'000, virtual_address, 80);
  two_inner.ask(10, 63, client, 40'000, pod, 8080);
  two_inner.ask(20, 63, client, 40'000, node, 8080);
  Findings findings = two_inner.run();
  EXPECT_EQ(findings.exchanges.size(), 3U);
  EXPECT_EQ(findings.legs.ambiguous_count, 3);
  // A prober that sends the same to two hosts: no router stands between.
  Forwarded two_hosts;
  two_hosts.ask(0, 64, client, 40'000, virtual_address, 80);
  two_hosts.ask(10, 64, client, 40'000, pod, 80);
  findings = two_hosts.run();
  EXPECT_EQ(findings.exchanges.size(), 2U);
  EXPECT_EQ(findings.legs.joined_count, 0);
  // The second is answered after the first: it is not part of its way.
  Forwarded crossed;
  crossed.ask(0, 64, client, 40'000, virtual_address, 80);
  crossed.ask(10, 63, client, 40'000, pod, 8080);
  crossed.answer(500, 63, virtual_address, 80, client, 40'000);
  crossed.answer(600, 64, pod, 8080, client, 40'000);
  findings = crossed.run();
  EXPECT_EQ(findings.exchanges.size(), 2U);
  EXPECT_EQ(findings.legs.joined_count, 0);
}

}  // namespace
}  // namespace stallscope::capture
