// SPDX-License-Identifier: Apache-2.0
#include "diagnose/stalls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "diagnose/diagnose.h"
#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;
using evidence::WaitMode;
using testing::add_wait;
using ::testing::ElementsAre;
using testing::hold_probes;
using ::testing::IsEmpty;
using testing::ms;
using testing::run_start_ns;
using ::testing::SizeIs;
using testing::us;

TEST(Stalls, last_from_the_start_of_the_wait_to_the_delivery_of_the_last_packet) {
  const Evidence evidence = testing::incident();
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_THAT(diagnosis.stalls, SizeIs(3));
  const Stall& stall = diagnosis.stalls[0];
  EXPECT_EQ(stall.cpu, 0);
  EXPECT_EQ(stall.start_ns, evidence.waits[0].start_ns);
  EXPECT_EQ(stall.end_ns, evidence.packets[16].received_ns);
  EXPECT_EQ(stall.earliest_start_ns, evidence.waits[0].earliest_start_ns);
  EXPECT_EQ(stall.held.probes.size(), 9U);
  EXPECT_EQ(stall.request_count, 9);
  EXPECT_EQ(stall.reply_count, 0);
  EXPECT_EQ(stall.packets_released, 10);
  EXPECT_EQ(stall.joined_by, JoinedBy::sequence);
}

TEST(Stalls, waits_that_touch_and_held_the_same_packets_are_one_with_two_shares) {
  const Diagnosis diagnosis = diagnose(testing::two_causes());
  ASSERT_THAT(diagnosis.stalls, SizeIs(2));
  EXPECT_THAT(diagnosis.stalls[0].waits, ElementsAre(0, 1));
  EXPECT_EQ(diagnosis.stalls[0].mode, WaitMode::hard_irqs_off);
  EXPECT_EQ(diagnosis.stalls[0].shares[0].length_ns, 50 * ms);
  EXPECT_EQ(diagnosis.stalls[0].shares[1].length_ns, 29'500 * us);
}

TEST(Stalls, waits_that_touch_but_held_different_packets_stay_two) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'003 * ms, 1'053 * ms);
  hold_probes(evidence, 0, 1'053'500 * us, 1'103 * ms);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'003 * ms, 1'053 * ms);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'053'500 * us, 1'103 * ms);
  EXPECT_THAT(diagnose(evidence).stalls, SizeIs(2));
}

TEST(Stalls, a_wait_in_which_nobody_waited_is_none) {
  Evidence evidence = testing::quiet_run(500);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'000 * ms, 1'030 * ms).packets_released = 0;
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 2'000 * ms, 2'040 * ms);
  const Diagnosis diagnosis = diagnose(evidence);
  EXPECT_THAT(diagnosis.stalls, IsEmpty());
  EXPECT_EQ(diagnosis.other_waits.count, 2);
  EXPECT_EQ(diagnosis.other_waits.longest_ns, 40 * ms);
  EXPECT_EQ(diagnosis.outcome, Outcome::clean);
}

TEST(Stalls, a_wait_that_held_other_traffic_counts_from_five_milliseconds_on) {
  Evidence evidence = testing::quiet_run(500);
  add_wait(evidence, 1, WaitMode::hard_irqs_off, 1'001 * ms, 1'001 * ms + unprobed_report_ns).packets_released = 3;
  add_wait(evidence, 1, WaitMode::hard_irqs_off, 2'001 * ms, 2'001 * ms + unprobed_report_ns - 1).packets_released = 3;
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_THAT(diagnosis.stalls, SizeIs(1));
  EXPECT_EQ(diagnosis.stalls[0].start_ns, run_start_ns + 1'001 * ms);
  EXPECT_THAT(diagnosis.stalls[0].held.probes, IsEmpty());
}

TEST(Stalls, without_a_probe_unknown_packet_counts_are_enough) {
  const Diagnosis diagnosis = diagnose(testing::passive());
  ASSERT_THAT(diagnosis.stalls, SizeIs(2));
  EXPECT_EQ(diagnosis.stalls[0].packets_released, 1'204);
  EXPECT_FALSE(diagnosis.stalls[1].packets_released);
}

TEST(Stalls, late_probes_without_a_wait_are_a_stall_of_unknown_mode) {
  const Evidence evidence = testing::stall_without_wait();
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_THAT(diagnosis.stalls, SizeIs(1));
  const Stall& stall = diagnosis.stalls[0];
  EXPECT_FALSE(stall.cpu);
  EXPECT_FALSE(stall.mode);
  EXPECT_GT(stall.start_ns, evidence.probes[434].sent_ns);
  EXPECT_LT(stall.earliest_start_ns, evidence.probes[434].sent_ns);
  ASSERT_THAT(stall.shares, SizeIs(1));
  EXPECT_EQ(stall.shares[0].kind, ShareKind::unexplained);
}

TEST(Stalls, a_probe_whose_packet_was_missed_belongs_to_those_it_was_released_with) {
  Evidence evidence = testing::incident();
  std::erase_if(evidence.packets, [](const evidence::PacketRecord& packet) { return packet.sequence == 437; });
  // Time must not do the work: the probe has no packets, and its wait is the same.
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_THAT(diagnosis.stalls, SizeIs(3));
  EXPECT_EQ(diagnosis.stalls[0].held.probes.size(), 9U);
}

TEST(Stalls, a_wait_that_held_up_the_prober_says_so) {
  const Diagnosis diagnosis = diagnose(testing::own_lateness());
  ASSERT_THAT(diagnosis.stalls, SizeIs(1));
  EXPECT_EQ(diagnosis.stalls[0].cpu, 1);
  EXPECT_EQ(diagnosis.stalls[0].prober_delayed_count, 4);
  EXPECT_EQ(diagnosis.probes.own_late_count, 7);
}

TEST(Stalls, count_probes_lost_meanwhile) {
  Evidence evidence = testing::incident();
  evidence.probes[436].received_ns = evidence::ProbeRecord::not_received;
  evidence.probes[700].received_ns = evidence::ProbeRecord::not_received;
  const Diagnosis diagnosis = diagnose(evidence);
  EXPECT_EQ(diagnosis.stalls[0].lost_probe_count, 1);
  EXPECT_EQ(diagnosis.probes.lost_count, 2);
}

TEST(Stalls, a_packet_that_waited_on_through_a_gap_makes_one_stall) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'003 * ms, 1'083 * ms);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'003 * ms, 1'033 * ms);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'043 * ms, 1'083 * ms);
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_THAT(diagnosis.stalls, SizeIs(1));
  EXPECT_THAT(diagnosis.stalls[0].waits, ElementsAre(0, 1));
}

}  // namespace
}  // namespace stallscope::diagnose
