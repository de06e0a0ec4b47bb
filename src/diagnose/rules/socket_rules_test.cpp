// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "diagnose/diagnose.h"
#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose::rules {
namespace {

using evidence::Evidence;
using evidence::SocketRecord;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

SocketRecord listener(std::int64_t queued) {
  return {"tcp", "10.0.1.2:8080", true, 0, queued, -1, 11, 812, "server"};
}

Evidence with(std::int64_t overflows, const std::vector<SocketRecord>& sockets) {
  Evidence evidence = testing::quiet_run(500);
  evidence.counters.push_back({"tcp.listen_overflows", -1, 3, 3 + overflows});
  evidence.sockets = sockets;
  return evidence;
}

TEST(AcceptQueue, names_the_server_and_clears_the_packet_path) {
  const Diagnosis diagnosis = diagnose(with(12, {listener(1), listener(2)}));
  ASSERT_EQ(diagnosis.findings.size(), 1U);
  const Finding& finding = diagnosis.findings[0];
  EXPECT_EQ(finding.rule_id, "accept-queue");
  EXPECT_THAT(finding.cause, HasSubstr("server (pid 812) does not accept connections to tcp 10.0.1.2:8080"));
  EXPECT_THAT(finding.no_stall, HasSubstr("the packet path is innocent"));
  EXPECT_EQ(finding.confidence, Confidence::high);
  EXPECT_THAT(finding.evidence_for, Contains(HasSubstr("12 overflows")));
  EXPECT_THAT(finding.evidence_for, Contains(HasSubstr("2 connections waited")));
}

TEST(AcceptQueue, without_a_server_is_less_sure_and_without_an_overflow_nothing) {
  EXPECT_EQ(diagnose(with(1, {})).findings.at(0).confidence, Confidence::medium);
  EXPECT_THAT(diagnose(with(0, {listener(2)})).findings, IsEmpty());
}

TEST(SocketUnread, is_told_by_drops_or_by_a_queue_that_stays_long) {
  const Diagnosis dropped = diagnose(with(0, {{"udp", "10.0.1.2:53", false, 0, 2'304, 417, 12, 813, "resolver"}}));
  ASSERT_EQ(dropped.findings.size(), 1U);
  EXPECT_EQ(dropped.findings[0].rule_id, "socket-unread");
  EXPECT_EQ(dropped.findings[0].cause,
            "resolver (pid 813) does not read udp 10.0.1.2:53 fast enough: 417 packets were dropped for want of room");
  EXPECT_EQ(dropped.findings[0].confidence, Confidence::high);
  const Diagnosis full = diagnose(with(0, {{"tcp", "10.0.1.2:80", false, 90'000, 90'000, -1, 13, 0, ""}}));
  ASSERT_EQ(full.findings.size(), 1U);
  EXPECT_EQ(full.findings[0].cause, "a process that is not known does not read tcp 10.0.1.2:80 fast enough");
  EXPECT_EQ(full.findings[0].confidence, Confidence::medium);
}

TEST(SocketUnread, is_not_what_a_busy_server_leaves_at_one_moment) {
  EXPECT_THAT(diagnose(with(0, {{"tcp", "10.0.1.2:80", false, 0, 90'000, -1, 13, 9, "web"},
                                {"udp", "10.0.1.2:53", false, 2'304, 2'304, 0, 12, 813, "resolver"}}))
                  .findings,
              IsEmpty());
}

}  // namespace
}  // namespace stallscope::diagnose::rules
