// SPDX-License-Identifier: Apache-2.0
#include "capture/connections.h"

#include <gtest/gtest.h>

#include <deque>

#include "base/units.h"
#include "capture/analysis.h"
#include "capture/testing.h"

namespace stallscope::capture {
namespace {

using namespace testing;
using base::ns_per_ms;

constexpr std::int64_t begin_ns = 1'700'000'000'000'000'000;
constexpr std::uint16_t asking_port = 40'000;
constexpr std::uint16_t service_port = 443;
constexpr std::uint8_t ack_flag = 0x10;

/// A connection's packets. Sequence numbers of both sides begin at 1000.
class Conversation {
 public:
  explicit Conversation(bool timestamps = false) : timestamps_(timestamps) {}

  void ask(std::int64_t ms, std::uint32_t at, std::uint32_t bytes, std::uint32_t acknowledges = 0) {
    send(ms, true, 1000 + at, 1000 + acknowledges, bytes, static_cast<std::uint32_t>(100 + ms), 0);
  }
  void respond(std::int64_t ms, std::uint32_t at, std::uint32_t bytes, std::uint32_t acknowledges, std::uint32_t echo = 0) {
    send(ms, false, 1000 + at, 1000 + acknowledges, bytes, 7, echo);
  }
  void acknowledge(std::int64_t ms, std::uint32_t number, std::uint32_t echo = 0) { respond(ms, 0, 0, number, echo); }
  void send(std::int64_t ms, bool asks, std::uint32_t sequence, std::uint32_t acknowledgement, std::uint32_t bytes,
            std::uint32_t timestamp, std::uint32_t echo, std::uint8_t flags = ack_flag) {
    Buffer segment = tcp(asks ? asking_port : service_port, asks ? service_port : asking_port, sequence, acknowledgement, flags,
                         timestamps_ ? timestamp : 0, timestamps_ ? echo : 0);
    segment.resize(segment.size() + bytes, 0x55);
    bytes_.push_back(asks ? ipv4(client, server, 6, segment) : ipv4(server, client, 6, segment));
    packets_.push_back({begin_ns + (ms * ns_per_ms), bytes_.back(), static_cast<std::uint32_t>(bytes_.back().size()),
                        link_type::raw_ip, 0, static_cast<std::uint32_t>(packets_.size() + 1)});
  }
  [[nodiscard]] Findings run() const {
    Analysis analysis(true);
    analysis.add(packets_);
    return analysis.finish();
  }

 private:
  bool timestamps_;
  std::deque<Buffer> bytes_;
  std::vector<Packet> packets_;
};

TEST(Connections, TimesDataToTheAckThatEndsWithIt) {
  Conversation talk;
  talk.ask(0, 0, 1448);
  talk.ask(1, 1448, 1448);
  talk.ask(2, 2896, 1448);
  talk.acknowledge(31, 2896);
  talk.acknowledge(70, 4344);
  const Findings findings = talk.run();
  EXPECT_EQ(findings.counts.data_rtt_count, 2);
  // Two full segments are acknowledged at once; with one there is time to wait for another.
  ASSERT_EQ(findings.exchanges.size(), 1U);
  const Observation& second = findings.exchanges[0];
  EXPECT_EQ(second.rtt_ns(), 30 * ns_per_ms);
  EXPECT_EQ(second.request_packet, 2U);
  EXPECT_EQ(second.answer_packet, 4U);
  EXPECT_EQ(second.key.far_port, service_port);
  EXPECT_EQ(second.answer, evidence::AnswerKind::tcp_ack);
  ASSERT_EQ(findings.unjudged.size(), 1U);
  EXPECT_EQ(findings.unjudged[0].rtt_ns(), 68 * ns_per_ms);
  EXPECT_TRUE(findings.unjudged[0].may_be_delayed);
}

TEST(Connections, NoAckIsDelayedForHalfASecond) {
  Conversation talk;
  talk.ask(0, 0, 100);
  talk.acknowledge(501, 100);
  const Findings findings = talk.run();
  ASSERT_EQ(findings.exchanges.size(), 1U);
  EXPECT_EQ(findings.exchanges[0].rtt_ns(), 501 * ns_per_ms);
  EXPECT_EQ(findings.delayed_ack_count, 0);
}

TEST(Connections, LeavesOutWhatWasSentTwice) {
  Conversation talk;
  talk.ask(0, 0, 1448);
  talk.ask(1, 1448, 1448);
  talk.ask(201, 0, 1448);
  talk.acknowledge(202, 2896);
  const Findings findings = talk.run();
  EXPECT_EQ(findings.counts.data_rtt_count, 0);
  EXPECT_EQ(findings.counts.ambiguous_count, 1) << "what was sent after a loss waited for the retransmission";
  EXPECT_EQ(findings.counts.retransmitted_count, 1);
  EXPECT_EQ(findings.flows->flows()[1].resent_count, 1);
}

TEST(Connections, ATimestampTellsWhichTransmissionArrived) {
  for (const bool first : {true, false}) {
    Conversation talk(true);
    talk.ask(0, 0, 10'000);
    talk.ask(200, 0, 10'000);
    talk.acknowledge(230, 10'000, first ? 100 : 300);
    const Findings findings = talk.run();
    ASSERT_EQ(findings.exchanges.size(), 1U);
    EXPECT_EQ(findings.exchanges[0].rtt_ns(), (first ? 230 : 30) * ns_per_ms);
    EXPECT_TRUE(findings.exchanges[0].by_timestamp);
    EXPECT_EQ(findings.counts.timestamp_rtt_count, 1);
  }
  Conversation neither(true);
  neither.ask(0, 0, 10'000);
  neither.ask(200, 0, 10'000);
  neither.acknowledge(230, 10'000, 250);
  EXPECT_EQ(neither.run().counts.data_rtt_count, 0);
}

TEST(Connections, TheSameSegmentOnAnotherInterfaceIsNoRetransmission) {
  Conversation talk;
  talk.ask(0, 0, 10'000);
  talk.ask(0, 0, 10'000);
  talk.acknowledge(30, 10'000);
  const Findings findings = talk.run();
  EXPECT_EQ(findings.counts.duplicate_count, 1);
  EXPECT_EQ(findings.counts.retransmitted_count, 0);
  ASSERT_EQ(findings.exchanges.size(), 1U);
}

TEST(Connections, FollowsAFixedNumberOfSegmentsAndCountsTheRest) {
  constexpr std::uint32_t count = 20;
  Conversation talk;
  for (std::uint32_t number = 0; number < count; ++number) {
    talk.ask(number, number * 1448, 1448);
  }
  for (std::uint32_t number = 2; number <= count; number += 2) {
    talk.acknowledge(100 + number, number * 1448);
  }
  const Findings findings = talk.run();
  EXPECT_EQ(findings.counts.segment_count, count);
  EXPECT_EQ(findings.counts.unfollowed_count, count - Connections::most_followed);
  EXPECT_EQ(findings.counts.data_rtt_count, Connections::most_followed / 2);
}

TEST(Connections, SequenceNumbersWrapAndBeginAnewWithASyn) {
  Conversation talk;
  talk.send(0, true, 0xfffffff0, 1, 2000, 0, 0);
  talk.send(25, false, 1, 0xfffffff0 + 2000U, 0, 0, 0);
  talk.send(100, true, 5000, 0, 0, 0, 0, 0x02);
  talk.send(101, true, 5001, 1, 10'000, 0, 0);
  talk.send(131, false, 1, 15'001, 0, 0, 0);
  const Findings findings = talk.run();
  EXPECT_EQ(findings.counts.retransmitted_count, 0);
  std::vector<std::int64_t> rtts_ms;
  for (const Observation& observation : findings.exchanges) {
    if (observation.key.kind == ExchangeKind::data) {
      rtts_ms.push_back(observation.rtt_ns() / ns_per_ms);
    }
  }
  EXPECT_EQ(rtts_ms, (std::vector<std::int64_t>{30}));
  ASSERT_EQ(findings.unjudged.size(), 1U);
  EXPECT_EQ(findings.unjudged[0].rtt_ns(), 25 * ns_per_ms);
}

TEST(Connections, KeepAlivesAndEmptyAcksAreNoData) {
  Conversation talk;
  talk.ask(0, 0, 100);
  talk.acknowledge(1, 100);
  talk.ask(60'000, 99, 1);
  talk.acknowledge(60'001, 100);
  const Findings findings = talk.run();
  EXPECT_EQ(findings.counts.retransmitted_count, 0);
  EXPECT_EQ(findings.counts.data_rtt_count, 1);
}

TEST(Responses, TellAnApplicationThatIsLateFromPacketsThatAre) {
  Conversation talk;
  std::uint32_t asked = 0;
  std::uint32_t answered = 0;
  std::int64_t now_ms = 0;
  const auto turn = [&](std::int64_t acked_after_ms, std::int64_t response_after_ms) {
    talk.ask(now_ms, asked, 100, answered);
    asked += 100;
    if (acked_after_ms >= 0) {
      talk.respond(now_ms + acked_after_ms, answered, 0, asked);
    }
    talk.respond(now_ms + response_after_ms, answered, 200, asked);
    answered += 200;
    now_ms += 1000;
  };
  for (int number = 0; number < 20; ++number) {
    turn(-1, 2);
  }
  turn(1, 300);
  turn(1, 301);
  turn(150, 151);
  turn(-1, 90);
  const Findings findings = talk.run();
  EXPECT_EQ(findings.response_count, 24);
  ASSERT_EQ(findings.late_responses.size(), 1U);
  const ServiceResponses& service = findings.late_responses[0];
  EXPECT_EQ(service.service.far_port, service_port);
  EXPECT_EQ(service.application_late_count, 2);
  EXPECT_EQ(service.network_late_count, 1);
  EXPECT_EQ(service.unclear_late_count, 1);
  ASSERT_EQ(service.worst.size(), 4U);
  EXPECT_EQ(service.worst[0].rtt_ns(), 301 * ns_per_ms);
  EXPECT_GT(service.worst[0].answer_packet, service.worst[0].request_packet);
}

/// Regular traffic of many flows; from `held_from_ms` on nothing passes for `held_ms`, and then all of it at once.
std::vector<PacketRelease> releases_of(std::int64_t held_from_ms, std::int64_t held_ms, std::uint16_t flows) {
  std::vector<Buffer> bytes;
  std::vector<Packet> packets;
  for (std::uint16_t port = 0; port < flows; ++port) {
    bytes.push_back(ipv4(client, server, 17, {0x10, static_cast<std::uint8_t>(port), 0, 2, 0, 8, 0, 0}));
  }
  for (std::int64_t ms = 0; ms < 2'000; ++ms) {
    const bool held = ms > held_from_ms && ms <= held_from_ms + held_ms;
    const std::int64_t time_ns = begin_ns + ((held ? held_from_ms + held_ms : ms) * ns_per_ms) + ms;
    const Buffer& packet = bytes[static_cast<std::size_t>(ms) % bytes.size()];
    packets.push_back(
        {time_ns, packet, static_cast<std::uint32_t>(packet.size()), link_type::raw_ip, 0, static_cast<std::uint32_t>(ms + 1)});
  }
  Analysis analysis(false);
  analysis.add(packets);
  return analysis.finish().releases;
}

TEST(Releases, AreBurstsAfterASilenceThatIsNotUsual) {
  const std::vector<PacketRelease> found = releases_of(1'000, 60, 4);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].silence_ns() / ns_per_ms, 60);
  EXPECT_EQ(found[0].packet_count, 60);
  EXPECT_EQ(found[0].packet, 1'002U);
  EXPECT_NEAR(found[0].usual_gaps, 60, 1);
}

TEST(Releases, NeedSilenceAFewFlowsAndMore) {
  EXPECT_TRUE(releases_of(1'000, 15, 4).empty()) << "not silent for long";
  EXPECT_TRUE(releases_of(1'000, 60, 1).empty()) << "one flow alone may be its sender's doing";
  EXPECT_TRUE(releases_of(5, 60, 4).empty()) << "what is usual is not known yet";
}

}  // namespace
}  // namespace stallscope::capture
