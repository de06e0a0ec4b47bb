// SPDX-License-Identifier: Apache-2.0
#include "join/two_ends.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "base/units.h"

namespace stallscope::join {
namespace {

using base::ns_per_ms;
using base::ns_per_s;
using base::ns_per_us;
using evidence::Evidence;
using evidence::PacketLeg;
using evidence::ProbeRecord;
using testing::HasSubstr;

constexpr std::int64_t difference_ns = 90 * ns_per_s;
constexpr std::int64_t way_ns = 20 * ns_per_us;

/// The two bundles of a session: `first` sequence and on, every 10 ms; one stall of 60 ms holds what comes to the node.
struct Session {
  Evidence prober;
  Evidence node;

  explicit Session(std::int64_t count, std::int64_t first = 0) {
    prober.run.target = "10.0.1.2";
    prober.run.probe_interval_ns = 10 * ns_per_ms;
    prober.run.realtime_offset_ns = 1'000 * ns_per_s + difference_ns;
    node.run.realtime_offset_ns = 1'000 * ns_per_s;
    node.run.hostname = "node";
    node.run.traced = true;
    node.run.start_ns = difference_ns;
    node.run.end_ns = difference_ns + first * 10 * ns_per_ms + count * 10 * ns_per_ms + ns_per_s;
    constexpr std::int64_t stall_start = 20;
    const std::int64_t release_ns = (first + stall_start) * 10 * ns_per_ms + 61 * ns_per_ms;
    for (std::int64_t sequence = first; sequence < first + count; ++sequence) {
      ProbeRecord probe;
      probe.sequence = sequence;
      probe.intended_ns = sequence * 10 * ns_per_ms;
      probe.sent_ns = probe.intended_ns + 5 * ns_per_us;
      const bool held = sequence - first >= stall_start && probe.sent_ns < release_ns;
      const std::int64_t received_ns = held ? release_ns : probe.sent_ns + way_ns;
      probe.received_ns = received_ns + way_ns;
      prober.probes.push_back(probe);
      evidence::PacketRecord packet;
      packet.sequence = (first % 65'536) + sequence - first;
      packet.leg = PacketLeg::request;
      packet.received_ns = received_ns + difference_ns;
      node.packets.push_back(packet);
    }
    evidence::WaitRecord wait;
    wait.start_ns = difference_ns + (first + stall_start) * 10 * ns_per_ms;
    wait.end_ns = difference_ns + release_ns;
    node.waits.push_back(wait);
  }

  [[nodiscard]] std::string failure() const {
    const auto joined = join_two_ends(prober, node);
    return joined ? "" : joined.error().message();
  }
};

TEST(TwoEnds, ProbesAreOnTheNodesClockWithTheirSequence) {
  const Session session(200);
  const auto joined = join_two_ends(session.prober, session.node);
  ASSERT_TRUE(joined) << joined.error().message();
  EXPECT_EQ(joined->probe_count, 200);
  EXPECT_EQ(joined->seen_count, 200);
  ASSERT_EQ(joined->evidence.probes.size(), 200U);
  EXPECT_LE(joined->clock.uncertainty_ns, way_ns);
  for (std::size_t i = 0; i < 200; ++i) {
    const ProbeRecord& probe = joined->evidence.probes[i];
    const ProbeRecord& original = session.prober.probes[i];
    EXPECT_EQ(probe.sequence, joined->evidence.packets[i].sequence);
    EXPECT_NEAR(static_cast<double>(probe.sent_ns - original.sent_ns - difference_ns), 0, static_cast<double>(way_ns));
    EXPECT_NEAR(static_cast<double>(probe.rtt_ns() - original.rtt_ns()), 0, 2);
    // Not before its packet had arrived, nor after.
    EXPECT_LE(probe.sent_ns, joined->evidence.packets[i].received_ns);
    EXPECT_GE(probe.received_ns, joined->evidence.packets[i].received_ns);
  }
  EXPECT_EQ(joined->evidence.waits, session.node.waits);
  EXPECT_EQ(joined->evidence.run.target, "10.0.1.2");
  EXPECT_EQ(joined->evidence.run.hostname, "node");
  EXPECT_TRUE(joined->evidence.run.target_is_local);
}

TEST(TwoEnds, ANodeThatBeganLaterCountsFromAnotherMultiple) {
  const Session session(300, 70'000);
  const auto joined = join_two_ends(session.prober, session.node);
  ASSERT_TRUE(joined) << joined.error().message();
  EXPECT_EQ(session.node.packets.front().sequence, 70'000 - 65'536);
  EXPECT_EQ(joined->evidence.packets.front().sequence, 70'000);
  EXPECT_EQ(joined->seen_count, 300);
}

TEST(TwoEnds, WhatWasSentWhileNobodyWatchedTheNodeIsLeftOut) {
  Session session(200);
  session.node.run.start_ns = difference_ns + ns_per_s;
  session.node.packets.erase(session.node.packets.begin(), session.node.packets.begin() + 100);
  const auto joined = join_two_ends(session.prober, session.node);
  ASSERT_TRUE(joined) << joined.error().message();
  EXPECT_EQ(joined->probe_count, 100);
  EXPECT_EQ(joined->seen_count, 100);
}

TEST(TwoEnds, ANodeThatWasStoppedAfterTheProberWasNotInterrupted) {
  Session session(200);
  session.prober.run.state = "finished";
  session.prober.run.planned_duration_ns = 2 * ns_per_s;
  session.node.run.state = "interrupted";
  session.node.run.planned_duration_ns = 60 * ns_per_s;
  auto joined = join_two_ends(session.prober, session.node);
  ASSERT_TRUE(joined);
  EXPECT_EQ(joined->evidence.run.state, "finished");
  EXPECT_EQ(joined->evidence.run.planned_duration_ns, 2 * ns_per_s);
  // Before its end it was.
  session.node.run.end_ns = difference_ns + ns_per_s;
  joined = join_two_ends(session.prober, session.node);
  ASSERT_TRUE(joined);
  EXPECT_EQ(joined->evidence.run.state, "interrupted");
}

TEST(TwoEnds, SaysWhatTheProberLackedAndThatItsWaitsAreLeftOut) {
  Session session(200);
  session.prober.gaps.push_back({"kernel timestamps", "not permitted", "Times are of user space."});
  session.prober.losses.push_back({"ring buffer", 7});
  session.prober.waits.emplace_back();
  const auto joined = join_two_ends(session.prober, session.node);
  ASSERT_TRUE(joined);
  ASSERT_EQ(joined->evidence.gaps.size(), 2U);
  EXPECT_EQ(joined->evidence.gaps[0].what, "at the prober: kernel timestamps");
  EXPECT_EQ(joined->evidence.gaps[1].what, "waits at the prober");
  EXPECT_EQ(joined->evidence.losses.at(0).where, "at the prober: ring buffer");
  EXPECT_EQ(joined->evidence.waits.size(), 1U);
}

TEST(TwoEnds, TimesAndSequencesThatCannotBeAreLeftOut) {
  constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
  constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();
  Session session(200);
  session.prober.run.realtime_offset_ns = highest;
  session.node.run.realtime_offset_ns = lowest;
  session.prober.probes[3].sent_ns = lowest;
  session.prober.probes[4].received_ns = highest;
  session.prober.probes.back().sequence = highest;
  session.node.packets[5].received_ns = highest;
  session.node.packets[6].enqueued_ns = lowest;
  session.node.packets[7].sequence = lowest;
  session.node.packets[8].sequence = highest;
  const auto joined = join_two_ends(session.prober, session.node);
  ASSERT_TRUE(joined) << joined.error().message();
  EXPECT_EQ(joined->probe_count, 197);
  EXPECT_EQ(joined->seen_count, 193);
}

TEST(TwoEnds, RefusesWhatIsNotOneSession) {
  const Session good(200);
  Session session = good;
  session.node.packets.clear();
  EXPECT_THAT(session.failure(), HasSubstr("saw none of the prober's packets"));

  session = good;
  session.prober.probes.clear();
  EXPECT_THAT(session.failure(), HasSubstr("holds no probes"));

  session = good;
  session.node.probes = good.prober.probes;
  EXPECT_THAT(session.failure(), HasSubstr("probes of its own"));

  session = good;
  for (ProbeRecord& probe : session.prober.probes) {
    probe.received_ns = ProbeRecord::not_received;
  }
  EXPECT_THAT(session.failure(), HasSubstr("no probe that the node saw was answered"));

  // A session with another interval: sequences are the same, times are not.
  session = good;
  for (ProbeRecord& probe : session.prober.probes) {
    const std::int64_t later_ns = probe.sequence * 10 * ns_per_ms;
    probe.intended_ns += later_ns;
    probe.sent_ns += later_ns;
    probe.received_ns += later_ns;
  }
  EXPECT_THAT(session.failure(), HasSubstr("their clocks differ"));

  session = good;
  session.prober.flows.emplace_back().kind = evidence::ProbeKind::icmp_echo;
  session.prober.flows.emplace_back().kind = evidence::ProbeKind::tcp_syn;
  EXPECT_THAT(session.failure(), HasSubstr("not all ICMP echoes or all SYNs"));
  session.prober.flows = {{}};
  session.prober.flows.front().kind = evidence::ProbeKind::udp_echo;
  EXPECT_THAT(session.failure(), HasSubstr("not all ICMP echoes or all SYNs"));
}

TEST(TwoEnds, JoinsSynsFromManyPorts) {
  Session session(200);
  for (int port = 0; port < 3; ++port) {
    session.prober.flows.emplace_back().kind = evidence::ProbeKind::tcp_syn;
  }
  const auto joined = join_two_ends(session.prober, session.node);
  ASSERT_TRUE(joined) << joined.error().message();
  EXPECT_EQ(joined->evidence.flows, session.prober.flows);
}

}  // namespace
}  // namespace stallscope::join
