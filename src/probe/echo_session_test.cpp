// SPDX-License-Identifier: Apache-2.0
#include "probe/echo_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/units.h"

namespace stallscope::probe {
namespace {

using base::ns_per_ms;
using base::ns_per_s;
using evidence::ProbeRecord;

constexpr std::uint16_t identifier = 7;
constexpr std::uint64_t token = 0xfeedface;
constexpr std::int64_t interval_ns = 10 * ns_per_ms;
constexpr std::int64_t rtt_ns = 200'000;

EchoReply reply_to(std::int64_t sequence) {
  return {.label = {.identifier = identifier, .token = token, .sequence = sequence},
          .wire_sequence = static_cast<std::uint16_t>(sequence)};
}

class Session : public testing::Test {
 protected:
  /// Sends all that is due at `now_ns`, in one instant, as a sender that wakes up does.
  static std::vector<DueProbe> send_due(EchoSession& session, std::int64_t now_ns) {
    std::vector<DueProbe> probes;
    while (const std::optional<DueProbe> probe = session.next_due(now_ns)) {
      session.sent(*probe, now_ns, 0);
      probes.push_back(*probe);
    }
    return probes;
  }

  /// Sends probes on time up to, but without, `sequence`; each is answered after rtt_ns.
  static void advance_to(EchoSession& session, std::int64_t sequence) {
    while (session.next_send_ns().value() < sequence * interval_ns) {
      for (const DueProbe& probe : send_due(session, *session.next_send_ns())) {
        session.received(reply_to(probe.sequence), probe.intended_ns + rtt_ns);
        session.clear_finished();
      }
    }
  }

  EchoSession session_{{.interval_ns = interval_ns, .count = 200'000}, identifier, token};
};

TEST_F(Session, SendsOnAnAbsoluteScheduleUntilTheCountIsReached) {
  EchoSession session({.interval_ns = interval_ns, .count = 3}, identifier, token);
  session.begin(5);
  EXPECT_FALSE(session.next_due(4));
  EXPECT_EQ(send_due(session, 5).size(), 1U);
  EXPECT_EQ(session.next_send_ns(), 5 + interval_ns);
  // Sent 1 ms late; the next one is due when it would have been anyway.
  EXPECT_EQ(send_due(session, 5 + interval_ns + ns_per_ms).size(), 1U);
  EXPECT_EQ(session.next_send_ns(), 5 + (2 * interval_ns));
  EXPECT_EQ(send_due(session, ns_per_s).size(), 1U);
  EXPECT_FALSE(session.next_send_ns());
  EXPECT_EQ(session.counts().sent, 3);
}

TEST_F(Session, ScoresFromTheIntendedTimeWhenTheSenderFroze) {
  advance_to(session_, 100);
  // The sender wakes 100 ms late and sends all it missed at once; the network answers in rtt_ns as ever.
  const std::int64_t woke_ns = (100 * interval_ns) + (100 * ns_per_ms);
  const std::vector<DueProbe> burst = send_due(session_, woke_ns);
  ASSERT_EQ(burst.size(), 11U);
  for (const DueProbe& probe : burst) {
    session_.received(reply_to(probe.sequence), woke_ns + rtt_ns);
  }
  ASSERT_EQ(session_.finished().size(), 11U);
  for (std::int64_t i = 0; i <= 10; ++i) {
    const ProbeRecord& record = session_.finished()[static_cast<std::size_t>(i)];
    EXPECT_EQ(record.sequence, 100 + i);
    EXPECT_EQ(record.score_ns(), (100 * ns_per_ms) - (i * interval_ns) + rtt_ns);
    EXPECT_EQ(record.own_lateness_ns(), (100 * ns_per_ms) - (i * interval_ns));
    EXPECT_EQ(record.rtt_ns(), rtt_ns);
  }
  EXPECT_EQ(session_.counts().worst_own_lateness_ns, 100 * ns_per_ms);
}

TEST_F(Session, LateReplyAcrossTheSequenceWrapIsScoredToItsOwnProbe) {
  advance_to(session_, 65535);
  const std::int64_t stalled_at_ns = 65535 * interval_ns;
  // 65535 is held while 65536 (0 on the wire) and 65537 (1 on the wire) overtake it.
  send_due(session_, stalled_at_ns + (2 * interval_ns));
  EXPECT_EQ(session_.received(reply_to(65536), stalled_at_ns + (3 * interval_ns)), ReplyVerdict::answered);
  EXPECT_EQ(session_.received(reply_to(65537), stalled_at_ns + (3 * interval_ns)), ReplyVerdict::answered);
  EXPECT_EQ(session_.received(reply_to(65535), stalled_at_ns + (9 * interval_ns)), ReplyVerdict::answered);
  ASSERT_EQ(session_.finished().size(), 3U);
  EXPECT_EQ(session_.finished()[2].sequence, 65535);
  EXPECT_EQ(session_.finished()[2].score_ns(), 9 * interval_ns);
  EXPECT_EQ(session_.finished()[0].sequence, 65536);
  EXPECT_EQ(session_.counts().foreign, 0);
}

TEST_F(Session, ProbeIsLostAndItsReplyForeignWhenItsWireSequenceIsUsedAgain) {
  const DueProbe held = session_.next_due(0).value();
  session_.sent(held, 0, 3);
  // At 65535 the slot of 0 is not needed yet; at 65536 it is.
  advance_to(session_, EchoSession::window);
  EXPECT_EQ(session_.counts().lost, 0);
  send_due(session_, EchoSession::window * interval_ns);
  EXPECT_EQ(session_.counts().lost, 1);
  ASSERT_EQ(session_.finished().size(), 1U);
  EXPECT_EQ(session_.finished()[0].sequence, 0);
  EXPECT_FALSE(session_.finished()[0].answered());
  EXPECT_EQ(session_.received(reply_to(0), (EchoSession::window * interval_ns) + 1), ReplyVerdict::foreign);
  EXPECT_EQ(session_.outstanding_count(), 1);
}

TEST_F(Session, DuplicateIsCountedAndDoesNotChangeTheScore) {
  send_due(session_, 0);
  EXPECT_EQ(session_.received(reply_to(0), 10), ReplyVerdict::answered);
  EXPECT_EQ(session_.received(reply_to(0), 99), ReplyVerdict::duplicate);
  ASSERT_EQ(session_.finished().size(), 1U);
  EXPECT_EQ(session_.finished()[0].received_ns, 10);
  EXPECT_EQ(session_.counts().answered, 1);
  EXPECT_EQ(session_.counts().duplicates, 1);
}

TEST_F(Session, RefusesRepliesThatAreNotItsOwn) {
  send_due(session_, 0);
  EchoReply other_token = reply_to(0);
  other_token.label.token = token + 1;
  EchoReply other_identifier = reply_to(0);
  other_identifier.label.identifier = identifier + 1;
  EchoReply inconsistent = reply_to(0);
  inconsistent.label.sequence = EchoSession::window;
  for (const EchoReply& reply : {other_token, other_identifier, inconsistent, reply_to(1), reply_to(-1)}) {
    EXPECT_EQ(session_.outstanding(reply), nullptr);
    EXPECT_EQ(session_.received(reply, 10), ReplyVerdict::foreign);
  }
  EXPECT_EQ(session_.counts().foreign, 5);
  EXPECT_EQ(session_.outstanding_count(), 1);
}

TEST_F(Session, LateIsNotLostAndLostIsKnownOnlyAtTheEnd) {
  send_due(session_, 2 * interval_ns);
  EXPECT_EQ(session_.received(reply_to(1), 2 * ns_per_s), ReplyVerdict::answered);
  EXPECT_EQ(session_.counts().lost, 0);
  session_.clear_finished();
  session_.finish();
  ASSERT_EQ(session_.finished().size(), 2U);
  EXPECT_EQ(session_.finished()[0].sequence, 0);
  EXPECT_EQ(session_.finished()[1].sequence, 2);
  EXPECT_FALSE(session_.finished()[1].answered());
  EXPECT_EQ(session_.counts().answered, 1);
  EXPECT_EQ(session_.counts().lost, 2);
  EXPECT_FALSE(session_.next_send_ns());
}

TEST_F(Session, RefusedSendIsNeitherOutstandingNorLost) {
  ASSERT_TRUE(session_.next_due(0));
  session_.send_failed();
  EXPECT_EQ(session_.received(reply_to(0), 1), ReplyVerdict::foreign);
  session_.finish();
  EXPECT_TRUE(session_.finished().empty());
  EXPECT_EQ(session_.counts().send_failed, 1);
  EXPECT_EQ(session_.counts().sent, 0);
}

TEST_F(Session, SenderSuspendedForHoursDoesNotFlood) {
  advance_to(session_, 10);
  const std::int64_t due = 100'000;
  const std::vector<DueProbe> burst = send_due(session_, due * interval_ns);
  EXPECT_EQ(static_cast<std::int64_t>(burst.size()), EchoSession::catch_up_limit);
  EXPECT_EQ(burst.back().sequence, due);
  EXPECT_EQ(burst.back().intended_ns, due * interval_ns);
  EXPECT_EQ(session_.counts().skipped, due + 1 - 10 - EchoSession::catch_up_limit);
  EXPECT_EQ(session_.received(reply_to(burst.front().sequence), due * interval_ns), ReplyVerdict::answered);
}

TEST_F(Session, KnowsItsOwnProbeInAnIcmpError) {
  EXPECT_FALSE(session_.is_ours({.identifier = identifier, .wire_sequence = 0, .token = std::nullopt}));
  send_due(session_, 0);
  EXPECT_TRUE(session_.is_ours({.identifier = identifier, .wire_sequence = 0, .token = std::nullopt}));
  EXPECT_TRUE(session_.is_ours({.identifier = identifier, .wire_sequence = 0, .token = token}));
  EXPECT_FALSE(session_.is_ours({.identifier = identifier, .wire_sequence = 0, .token = token + 1}));
  EXPECT_FALSE(session_.is_ours({.identifier = identifier, .wire_sequence = 1, .token = token}));
  EXPECT_FALSE(session_.is_ours({.identifier = identifier + 1, .wire_sequence = 0, .token = token}));
}

TEST_F(Session, GraceIsExtendedByRepliesUpToTheLimit) {
  constexpr std::int64_t grace_ns = ns_per_s;
  constexpr std::int64_t limit_ns = 3 * ns_per_s;
  const std::int64_t last_sent_ns = 4 * interval_ns;
  send_due(session_, last_sent_ns);
  session_.stop_sending();
  EXPECT_FALSE(session_.next_send_ns());
  EXPECT_EQ(grace_deadline_ns(session_, grace_ns, limit_ns), last_sent_ns + grace_ns);
  session_.received(reply_to(0), last_sent_ns + (ns_per_s / 2));
  EXPECT_EQ(grace_deadline_ns(session_, grace_ns, limit_ns), last_sent_ns + (ns_per_s / 2) + grace_ns);
  session_.received(reply_to(1), last_sent_ns + (5 * ns_per_s / 2));
  EXPECT_EQ(grace_deadline_ns(session_, grace_ns, limit_ns), last_sent_ns + limit_ns);
}

}  // namespace
}  // namespace stallscope::probe
