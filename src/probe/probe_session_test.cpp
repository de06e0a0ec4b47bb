// SPDX-License-Identifier: Apache-2.0
#include "probe/probe_session.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/units.h"

namespace stallscope::probe {
namespace {

using base::ns_per_ms;
using base::ns_per_s;
using evidence::ProbeRecord;

constexpr SessionLimits small_limits{.window = 64, .catch_up = 32, .finished_capacity = 64};

TEST(ProbeSchedule, SpreadsTargetsEvenlyOverTheInterval) {
  const ProbeSchedule schedule{.interval_ns = 10, .count = 9, .target_count = 3};
  const std::vector<std::int64_t> expected = {0, 3, 6, 10, 13, 16, 20, 23, 26};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(schedule.offset_ns(static_cast<std::int64_t>(i)), expected[i]);
  }
  EXPECT_EQ(schedule.probes_per_second(), 300'000'000);
}

TEST(ProbeSchedule, CountsWhatIsDueAsTheOffsetsSay) {
  for (const std::int64_t target_count : {1, 2, 3, 7, 64}) {
    for (const std::int64_t grid_ns : {1, 2, 7, 25}) {
      const ProbeSchedule schedule{.interval_ns = 25, .count = 150, .target_count = target_count, .grid_ns = grid_ns};
      for (std::int64_t elapsed_ns = -1; elapsed_ns < 4'000; ++elapsed_ns) {
        std::int64_t due = 0;
        while (due < schedule.count && schedule.offset_ns(due) <= elapsed_ns) {
          ++due;
        }
        ASSERT_EQ(schedule.due_count(elapsed_ns), due)
            << target_count << " targets in steps of " << grid_ns << " after " << elapsed_ns;
      }
    }
  }
}

TEST(ProbeSchedule, SendsToSeveralTargetsAtATimeOnAGrid) {
  const ProbeSchedule schedule{.interval_ns = 12, .count = 12, .target_count = 6, .grid_ns = 4};
  const std::vector<std::int64_t> expected = {0, 0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(schedule.offset_ns(static_cast<std::int64_t>(i)), expected[i]);
  }
}

constexpr SessionLimits default_limits;
constexpr std::int64_t interval_ns = 10 * ns_per_ms;
constexpr std::int64_t rtt_ns = 200'000;

class Session : public testing::Test {
 protected:
  /// Sends all that is due at `now_ns`, in one instant, as a sender that wakes up does.
  static std::vector<DueProbe> send_due(ProbeSession& session, std::int64_t now_ns) {
    std::vector<DueProbe> probes;
    while (const std::optional<DueProbe> probe = session.next_due(now_ns)) {
      session.sent(*probe, now_ns, 0, 1);
      probes.push_back(*probe);
    }
    return probes;
  }

  /// Sends probes on time up to, but without, `sequence`; each is answered after rtt_ns.
  static void advance_to(ProbeSession& session, std::int64_t sequence) {
    while (session.next_send_ns().value() < sequence * interval_ns) {
      for (const DueProbe& probe : send_due(session, *session.next_send_ns())) {
        session.received(probe.sequence, probe.intended_ns + rtt_ns, {});
        session.clear_finished();
      }
    }
  }

  ProbeSession session_{{.interval_ns = interval_ns, .count = 200'000}, default_limits};
};

TEST_F(Session, SendsOnAnAbsoluteScheduleUntilTheCountIsReached) {
  ProbeSession session({.interval_ns = interval_ns, .count = 3}, default_limits);
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
    session_.received(probe.sequence, woke_ns + rtt_ns, {});
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

TEST_F(Session, ACardsTimestampsStandWhereTheyArePossible) {
  constexpr std::int64_t begin_ns = 5;
  constexpr std::int64_t answered_ns = 30 * ns_per_ms;
  constexpr std::int64_t error_ns = ProbeSession::hardware_error_ns;
  struct Case {
    std::int64_t stamp_ns;
    std::int64_t kept_ns;
  };
  for (const Case& each :
       {Case{ns_per_ms, ns_per_ms}, Case{answered_ns + error_ns, answered_ns}, Case{begin_ns - error_ns, begin_ns},
        Case{answered_ns + error_ns + 1, ProbeRecord::unknown}, Case{begin_ns - error_ns - 1, ProbeRecord::unknown}}) {
    ProbeSession session({.interval_ns = interval_ns, .count = 3}, default_limits);
    session.begin(begin_ns);
    send_due(session, begin_ns);
    session.hardware_transmitted(0, each.stamp_ns, answered_ns);
    session.received(0, answered_ns, {.hardware_received_ns = each.stamp_ns});
    ASSERT_EQ(session.finished().size(), 1U);
    EXPECT_EQ(session.finished()[0].hardware_received_ns, each.kept_ns) << each.stamp_ns;
    EXPECT_EQ(session.finished()[0].hardware_transmitted_ns, each.kept_ns) << each.stamp_ns;
  }
}

TEST_F(Session, WithoutACardsTimestampsTheyAreUnknown) {
  send_due(session_, 0);
  session_.received(0, ns_per_ms, {});
  ASSERT_EQ(session_.finished().size(), 1U);
  EXPECT_EQ(session_.finished()[0].hardware_transmitted_ns, ProbeRecord::unknown);
  EXPECT_EQ(session_.finished()[0].own_queue_ns(), ProbeRecord::unknown);
}

TEST_F(Session, LateReplyAcrossTheSequenceWrapIsScoredToItsOwnProbe) {
  advance_to(session_, 65535);
  const std::int64_t stalled_at_ns = 65535 * interval_ns;
  // 65535 is held while 65536 (0 on the wire) and 65537 (1 on the wire) overtake it.
  send_due(session_, stalled_at_ns + (2 * interval_ns));
  EXPECT_EQ(session_.received(65536, stalled_at_ns + (3 * interval_ns), {}), ReplyVerdict::answered);
  EXPECT_EQ(session_.received(65537, stalled_at_ns + (3 * interval_ns), {}), ReplyVerdict::answered);
  EXPECT_EQ(session_.received(65535, stalled_at_ns + (9 * interval_ns), {}), ReplyVerdict::answered);
  ASSERT_EQ(session_.finished().size(), 3U);
  EXPECT_EQ(session_.finished()[2].sequence, 65535);
  EXPECT_EQ(session_.finished()[2].score_ns(), 9 * interval_ns);
  EXPECT_EQ(session_.finished()[0].sequence, 65536);
  EXPECT_EQ(session_.counts().foreign, 0);
}

TEST_F(Session, ProbeIsLostAndItsReplyForeignWhenItsWireSequenceIsUsedAgain) {
  const DueProbe held = session_.next_due(0).value();
  session_.sent(held, 0, 3, 1);
  // At 65535 the slot of 0 is not needed yet; at 65536 it is.
  advance_to(session_, default_limits.window);
  EXPECT_EQ(session_.counts().lost, 0);
  send_due(session_, default_limits.window * interval_ns);
  EXPECT_EQ(session_.counts().lost, 1);
  ASSERT_EQ(session_.finished().size(), 1U);
  EXPECT_EQ(session_.finished()[0].sequence, 0);
  EXPECT_FALSE(session_.finished()[0].answered());
  EXPECT_EQ(session_.received(0, (default_limits.window * interval_ns) + 1, {}), ReplyVerdict::foreign);
  EXPECT_EQ(session_.outstanding_count(), 1);
}

TEST_F(Session, DuplicateIsCountedAndDoesNotChangeTheScore) {
  send_due(session_, 0);
  EXPECT_EQ(session_.received(0, 10, {}), ReplyVerdict::answered);
  EXPECT_EQ(session_.received(0, 99, {}), ReplyVerdict::duplicate);
  ASSERT_EQ(session_.finished().size(), 1U);
  EXPECT_EQ(session_.finished()[0].received_ns, 10);
  EXPECT_EQ(session_.counts().answered, 1);
  EXPECT_EQ(session_.counts().duplicates, 1);
}

TEST_F(Session, LateIsNotLostAndLostIsKnownOnlyAtTheEnd) {
  send_due(session_, 2 * interval_ns);
  EXPECT_EQ(session_.received(1, 2 * ns_per_s, {}), ReplyVerdict::answered);
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
  EXPECT_EQ(session_.received(0, 1, {}), ReplyVerdict::foreign);
  session_.finish();
  EXPECT_TRUE(session_.finished().empty());
  EXPECT_EQ(session_.counts().send_failed, 1);
  EXPECT_EQ(session_.counts().sent, 0);
}

TEST_F(Session, SenderSuspendedForHoursDoesNotFlood) {
  advance_to(session_, 10);
  const std::int64_t due = 100'000;
  const std::vector<DueProbe> burst = send_due(session_, due * interval_ns);
  EXPECT_EQ(static_cast<std::int64_t>(burst.size()), default_limits.catch_up);
  EXPECT_EQ(burst.back().sequence, due);
  EXPECT_EQ(burst.back().intended_ns, due * interval_ns);
  EXPECT_EQ(session_.counts().skipped, due + 1 - 10 - default_limits.catch_up);
  EXPECT_EQ(session_.received(burst.front().sequence, due * interval_ns, {}), ReplyVerdict::answered);
}

TEST_F(Session, GraceIsExtendedByRepliesUpToTheLimit) {
  constexpr std::int64_t grace_ns = ns_per_s;
  constexpr std::int64_t limit_ns = 3 * ns_per_s;
  const std::int64_t last_sent_ns = 4 * interval_ns;
  send_due(session_, last_sent_ns);
  session_.stop_sending();
  EXPECT_FALSE(session_.next_send_ns());
  EXPECT_EQ(grace_deadline_ns(session_, grace_ns, limit_ns), last_sent_ns + grace_ns);
  session_.received(0, last_sent_ns + (ns_per_s / 2), {});
  EXPECT_EQ(grace_deadline_ns(session_, grace_ns, limit_ns), last_sent_ns + (ns_per_s / 2) + grace_ns);
  session_.received(1, last_sent_ns + (5 * ns_per_s / 2), {});
  EXPECT_EQ(grace_deadline_ns(session_, grace_ns, limit_ns), last_sent_ns + limit_ns);
}

class SmallSession : public testing::Test {
 protected:
  void send_until(std::int64_t now_ns) {
    while (const std::optional<DueProbe> probe = session_.next_due(now_ns)) {
      session_.sent(*probe, now_ns, 0, 7);
    }
  }
  ProbeSession session_{{.interval_ns = ns_per_ms, .count = 1000}, small_limits};
};

TEST_F(SmallSession, LosesWhatIsNotAnsweredInTimeAndKeepsItLost) {
  session_.begin(0);
  send_until(0);
  send_until(ns_per_ms);
  session_.expire((100 * ns_per_ms) - 1, 100 * ns_per_ms);
  EXPECT_TRUE(session_.finished().empty());
  session_.expire(100 * ns_per_ms, 100 * ns_per_ms);
  ASSERT_EQ(session_.finished().size(), 1U);
  EXPECT_FALSE(session_.finished()[0].answered());
  EXPECT_EQ(session_.received(0, 150 * ns_per_ms, {}), ReplyVerdict::after_timeout);
  EXPECT_EQ(session_.received(0, 151 * ns_per_ms, {}), ReplyVerdict::duplicate);
  EXPECT_EQ(session_.received(1, 150 * ns_per_ms, {}), ReplyVerdict::answered);
  EXPECT_EQ(session_.counts().lost, 1);
  EXPECT_EQ(session_.counts().after_timeout, 1);
  session_.finish();
  EXPECT_EQ(session_.counts().lost, 1);
}

TEST_F(SmallSession, ExpiryPassesOverWhatWasAnsweredOrNeverSent) {
  session_.begin(0);
  send_until(0);
  session_.received(0, 1, {});
  ASSERT_TRUE(session_.next_due(ns_per_ms));  // and refused by the system
  session_.send_failed();
  send_until(2 * ns_per_ms);
  session_.clear_finished();
  session_.expire(ns_per_s, 10 * ns_per_ms);
  ASSERT_EQ(session_.finished().size(), 1U);
  EXPECT_EQ(session_.finished()[0].sequence, 2);
}

TEST_F(SmallSession, TakesATransmitTimestampOnlyFromBetweenSendingAndNow) {
  session_.begin(0);
  send_until(100);
  session_.transmitted(0, 99, 200);
  session_.transmitted(0, 201, 200);
  session_.transmitted(5, 150, 200);
  EXPECT_EQ(session_.find(0)->transmitted_ns, evidence::ProbeRecord::unknown);
  session_.transmitted(0, 150, 200);
  EXPECT_EQ(session_.find(0)->transmitted_ns, 150);
  session_.received(0, 180, {.kind = evidence::AnswerKind::syn_ack, .far_host_ns = 3});
  EXPECT_EQ(session_.finished()[0].transmitted_ns, 150);
  EXPECT_EQ(session_.finished()[0].answer, evidence::AnswerKind::syn_ack);
  EXPECT_EQ(session_.finished()[0].far_host_ns, 3);
  EXPECT_EQ(session_.finished()[0].flow_id, 7);
}

TEST_F(SmallSession, AFrozenSenderSkipsTheOldest) {
  session_.begin(0);
  send_until(99 * ns_per_ms);
  EXPECT_EQ(session_.counts().skipped, 100 - small_limits.catch_up);
  EXPECT_EQ(session_.counts().sent, small_limits.catch_up);
  EXPECT_EQ(session_.find(0), nullptr);
  EXPECT_NE(session_.find(99), nullptr);
}

}  // namespace
}  // namespace stallscope::probe
