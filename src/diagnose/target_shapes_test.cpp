// SPDX-License-Identifier: Apache-2.0
#include "diagnose/target_shapes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "shape/testing/simulate.h"

namespace stallscope::diagnose {
namespace {

namespace simulated = shape::testing;

constexpr std::uint64_t hash_seed = 7;

/// Sixteen source ports to each of two hosts; the queue of some of them stalls at the first.
evidence::Evidence two_hosts() {
  evidence::Evidence evidence;
  simulated::Dice dice(1);
  simulated::Traffic traffic;
  traffic.duration_ns = 3 * simulated::second;
  std::int64_t sequence = 0;
  for (const std::string address : {"10.0.1.2", "10.0.1.3"}) {
    std::vector<shape::TimedPacket> packets = simulated::quiet_run(traffic, dice);
    if (address == "10.0.1.2") {
      simulated::hold(packets, traffic, {0, simulated::run_start_ns + simulated::second, 100 * simulated::ms}, hash_seed, dice);
    }
    const auto first_id = static_cast<std::int64_t>(evidence.flows.size()) + 1;
    for (std::int64_t flow = 0; flow < traffic.flow_count; ++flow) {
      evidence.flows.push_back({first_id + flow, evidence::ProbeKind::tcp_syn, "node", "10.0.1.1",
                                static_cast<std::uint16_t>(40'000 + flow), address, 443});
    }
    for (const shape::TimedPacket& packet : packets) {
      evidence::ProbeRecord probe;
      probe.sequence = sequence++;
      probe.intended_ns = packet.intended_ns;
      probe.sent_ns = packet.sent_ns;
      probe.received_ns = packet.answered_ns;
      probe.answer = evidence::AnswerKind::syn_ack;
      probe.flow_id = first_id + packet.flow;
      evidence.probes.push_back(probe);
    }
  }
  evidence.run.end_ns = simulated::run_start_ns + 5 * simulated::second;
  return evidence;
}

TEST(TargetShapes, judge_each_address_by_itself) {
  const std::vector<TargetShape> shapes = shapes_of(two_hosts());
  ASSERT_EQ(shapes.size(), 2U);
  EXPECT_EQ(shapes[0].address, "10.0.1.2");
  EXPECT_EQ(shapes[0].analysis.verdict.cause, shape::Cause::receive_queue) << shapes[0].analysis.verdict.why;
  EXPECT_EQ(shapes[0].analysis.flow_count, 16);
  EXPECT_EQ(shapes[1].analysis.verdict.cause, shape::Cause::nothing);
}

TEST(TargetShapes, of_a_host_that_stalls_as_a_whole_are_not_one_queue_of_all_hosts) {
  evidence::Evidence evidence = two_hosts();
  for (evidence::ProbeRecord& probe : evidence.probes) {
    const std::int64_t release_ns = simulated::run_start_ns + simulated::second + 100 * simulated::ms;
    if (probe.flow_id <= 16 && probe.sent_ns > release_ns - 100 * simulated::ms && probe.sent_ns < release_ns) {
      probe.received_ns = std::max(probe.received_ns, release_ns + probe.flow_id * simulated::us);
    }
  }
  EXPECT_EQ(shapes_of(evidence)[0].analysis.verdict.cause, shape::Cause::all_queues);
}

TEST(TargetShapes, count_what_waited_in_the_senders_own_stack_as_the_senders) {
  evidence::Evidence evidence = two_hosts();
  for (evidence::ProbeRecord& probe : evidence.probes) {
    const std::int64_t since_ns = probe.sent_ns - simulated::run_start_ns - 2 * simulated::second;
    if (probe.flow_id > 16 && since_ns > 0 && since_ns < 50 * simulated::ms) {
      const std::int64_t rtt_ns = probe.rtt_ns();
      probe.transmitted_ns = simulated::run_start_ns + 2 * simulated::second + 50 * simulated::ms;
      probe.received_ns = probe.transmitted_ns + rtt_ns;
    }
  }
  // More than the other has late ones: it comes first.
  const std::vector<TargetShape> shapes = shapes_of(evidence);
  EXPECT_EQ(shapes[0].address, "10.0.1.3");
  EXPECT_EQ(shapes[0].analysis.verdict.cause, shape::Cause::sender);
}

TEST(ShapeNotes, are_a_sentence_for_each_target_with_a_shape) {
  const std::vector<std::string> notes = shape_notes(two_hosts());
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_THAT(notes[0],
              ::testing::StartsWith("By the times of 16 flows, late and lost probes to 10.0.1.2 point to one receive queue: in "
                                    "1 stall, 7 of 16 flows stalled as a whole"));
  evidence::Evidence one_flow = two_hosts();
  one_flow.flows.resize(1);
  EXPECT_TRUE(shape_notes(one_flow).empty());
}

TEST(ShapeCollector, asks_for_each_flow_once_and_survives_unknown_ones) {
  int asked = 0;
  ShapeCollector collector([&](std::int64_t) {
    ++asked;
    return evidence::FlowRecord{};
  });
  for (const evidence::ProbeRecord& probe : two_hosts().probes) {
    collector.add(probe);
  }
  EXPECT_EQ(asked, 32);
  EXPECT_EQ(collector.left_out_count(), 0);
  const std::vector<TargetShape> shapes = collector.finish(0);
  ASSERT_EQ(shapes.size(), 1U);
  EXPECT_EQ(shapes[0].flows.size(), 32U);
}

}  // namespace
}  // namespace stallscope::diagnose
