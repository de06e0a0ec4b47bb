// SPDX-License-Identifier: Apache-2.0
#include "diagnose/joins.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;
using evidence::WaitMode;
using testing::add_wait;
using testing::hold_probes;
using testing::ms;
using testing::us;

Joins join(const Evidence& evidence) {
  const TimeWindow window(evidence.run);
  return join_probes(evidence, analyse_probes(evidence, window), WaitIndex(evidence, window), window);
}

TEST(Joins, the_packet_decides_although_another_cpu_waited_too) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 1, 1'003 * ms, 1'063 * ms);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'000 * ms, 1'064 * ms);
  add_wait(evidence, 1, WaitMode::hard_irqs_off, 1'003 * ms, 1'063 * ms);
  const Joins joins = join(evidence);
  ASSERT_FALSE(joins.holds.empty());
  for (const Hold& hold : joins.holds) {
    EXPECT_EQ(hold.wait, 1U);
    EXPECT_EQ(hold.joined_by, JoinedBy::sequence);
    EXPECT_EQ(hold.leg, evidence::PacketLeg::request);
  }
}

TEST(Joins, without_packets_time_decides) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'003 * ms, 1'063 * ms, /*with_packets=*/false);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'003 * ms, 1'063 * ms);
  add_wait(evidence, 1, WaitMode::hard_irqs_off, 1'010 * ms, 1'020 * ms);
  const Joins joins = join(evidence);
  ASSERT_EQ(joins.holds.size(), 5U);
  for (const Hold& hold : joins.holds) {
    EXPECT_EQ(hold.wait, 0U);
    EXPECT_EQ(hold.joined_by, JoinedBy::time);
  }
}

TEST(Joins, a_wait_that_covers_little_of_the_lateness_is_a_coincidence) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'003 * ms, 1'063 * ms, /*with_packets=*/false);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'003 * ms, 1'008 * ms);
  EXPECT_TRUE(join(evidence).holds.empty());
}

TEST(Joins, a_probe_seen_on_both_ways_is_not_joined_by_time) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 1, 1'003 * ms, 1'063 * ms);
  // The kernel saw every packet pass at once: it was held before it came here. What another CPU did is a coincidence.
  for (evidence::PacketRecord& packet : evidence.packets) {
    packet.enqueued_ns = packet.received_ns - 10 * us;
  }
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'003 * ms, 1'063 * ms);
  EXPECT_TRUE(join(evidence).holds.empty());
}

TEST(Joins, a_packet_that_had_to_learn_its_way_first_waited_for_who_held_up_the_answer) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'003 * ms, 1'063 * ms);
  // They came into a queue when the wait was over, all together.
  for (evidence::PacketRecord& packet : evidence.packets) {
    packet.enqueued_ns = packet.received_ns - 10 * us;
  }
  add_wait(evidence, 0, WaitMode::bh_off, 1'003 * ms, 1'063 * ms - 20 * us);
  const Joins joins = join(evidence);
  ASSERT_FALSE(joins.holds.empty());
  for (const Hold& hold : joins.holds) {
    EXPECT_EQ(hold.wait, 0U);
    EXPECT_EQ(hold.joined_by, JoinedBy::time);
    EXPECT_EQ(hold.from_ns, evidence.probes[hold.probe].sent_ns);
  }
}

TEST(Joins, a_wait_that_goes_on_when_the_packet_comes_did_not_keep_it_from_coming) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'003 * ms, 1'063 * ms);
  for (evidence::PacketRecord& packet : evidence.packets) {
    packet.enqueued_ns = packet.received_ns - 10 * us;
  }
  // Another packet of this CPU's: it was not over when ours came, and did not hold it for long either.
  add_wait(evidence, 0, WaitMode::bh_off, 1'003 * ms, 1'063 * ms + 200 * us);
  for (const Hold& hold : join(evidence).holds) {
    EXPECT_NE(hold.joined_by, JoinedBy::time);
  }
}

TEST(Joins, where_the_queue_hides_the_arrival_the_packet_came_after_the_device_before) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'003 * ms, 1'063 * ms);
  std::erase_if(evidence.packets, [](const evidence::PacketRecord& packet) { return packet.leg == evidence::PacketLeg::reply; });
  for (evidence::PacketRecord& packet : evidence.packets) {
    packet.enqueued_ns = 0;
  }
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'003 * ms, 1'063 * ms);
  const Joins joins = join(evidence);
  ASSERT_EQ(joins.holds.size(), 5U);
  EXPECT_EQ(joins.holds[0].from_ns, evidence.probes[101].sent_ns);
  EXPECT_EQ(joins.holds[0].joined_by, JoinedBy::sequence);
}

TEST(Joins, a_packet_that_waited_without_a_recorded_wait_still_names_the_cpu) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'003 * ms, 1'063 * ms);
  const Joins joins = join(evidence);
  ASSERT_EQ(joins.holds.size(), 5U);
  EXPECT_FALSE(joins.holds[0].wait);
  EXPECT_EQ(joins.holds[0].cpu, 0);
}

}  // namespace
}  // namespace stallscope::diagnose
