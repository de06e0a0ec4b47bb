// SPDX-License-Identifier: Apache-2.0
#include "diagnose/late_time.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "diagnose/diagnose.h"
#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;
using evidence::WaitMode;
using testing::add_wait;
using testing::hold_probes;
using testing::ms;
using testing::us;
using Kind = LatePart::Kind;

std::int64_t length_of(const std::vector<LatePart>& parts, Kind kind, std::optional<WaitMode> mode = std::nullopt) {
  for (const LatePart& part : parts) {
    if (part.kind == kind && part.mode == mode) {
      return part.length_ns;
    }
  }
  return 0;
}

std::int64_t sum_of(const std::vector<LatePart>& parts) {
  std::int64_t sum_ns = 0;
  for (const LatePart& part : parts) {
    sum_ns += part.length_ns;
  }
  return sum_ns;
}

TEST(LateTime, goes_to_the_wait_for_as_long_as_the_packet_stood_in_the_queue) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'003 * ms, 1'063 * ms);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'003 * ms, 1'063 * ms);
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_EQ(diagnosis.late_probes.size(), 5U);
  for (const LateProbe& late : diagnosis.late_probes) {
    const evidence::ProbeRecord& probe = evidence.probes[late.probe];
    EXPECT_EQ(sum_of(late.parts), probe.score_ns());
    for (const evidence::PacketRecord& packet : evidence.packets) {
      if (packet.sequence == probe.sequence && packet.leg == evidence::PacketLeg::request) {
        const std::int64_t in_wait_ns = std::min(packet.received_ns, testing::run_start_ns + 1'063 * ms) - packet.enqueued_ns;
        EXPECT_EQ(length_of(late.parts, Kind::wait, WaitMode::hard_irqs_off), in_wait_ns);
      }
    }
    EXPECT_LE(length_of(late.parts, Kind::network), diagnosis.probes.baseline_rtt_ns);
  }
}

TEST(LateTime, is_divided_where_the_request_met_one_wait_and_the_reply_another) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'009'900 * us, 1'040 * ms);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'009'900 * us, 1'040 * ms);
  // The probe sent at 1,010 ms comes back through CPU 1, and stands there too.
  for (evidence::PacketRecord& packet : evidence.packets) {
    if (packet.sequence == 101 && packet.leg == evidence::PacketLeg::reply) {
      packet.cpu = 1;
      packet.enqueued_ns = testing::run_start_ns + 1'041 * ms;
      packet.received_ns = testing::run_start_ns + 1'050 * ms;
      evidence.probes[101].received_ns = packet.received_ns + 20 * us;
    }
  }
  add_wait(evidence, 1, WaitMode::softirq_vector, 1'041 * ms, 1'050 * ms);
  const Diagnosis diagnosis = diagnose(evidence);
  const auto late = std::find_if(diagnosis.late_probes.begin(), diagnosis.late_probes.end(),
                                 [](const LateProbe& candidate) { return candidate.probe == 101; });
  ASSERT_NE(late, diagnosis.late_probes.end());
  EXPECT_NEAR(static_cast<double>(length_of(late->parts, Kind::wait, WaitMode::hard_irqs_off)), 30.0 * ms, 1.0 * ms);
  EXPECT_EQ(length_of(late->parts, Kind::wait, WaitMode::softirq_vector), 9 * ms);
  EXPECT_EQ(sum_of(late->parts), evidence.probes[101].score_ns());
}

TEST(LateTime, without_packets_is_what_the_probe_shared_with_the_wait) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'003 * ms, 1'063 * ms, /*with_packets=*/false);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'003 * ms, 1'063 * ms);
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_FALSE(diagnosis.late_probes.empty());
  const LateProbe& first = diagnosis.late_probes.front();
  const evidence::ProbeRecord& probe = evidence.probes[first.probe];
  EXPECT_EQ(length_of(first.parts, Kind::wait, WaitMode::hard_irqs_off), testing::run_start_ns + 1'063 * ms - probe.sent_ns);
  EXPECT_EQ(sum_of(first.parts), probe.score_ns());
}

TEST(LateTime, beyond_the_median_stays_unexplained_where_nothing_was_seen) {
  Evidence evidence = testing::quiet_run(500);
  evidence.probes[200].received_ns += 30 * ms;
  std::erase_if(evidence.packets, [](const evidence::PacketRecord& packet) { return packet.sequence == 200; });
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_EQ(diagnosis.late_probes.size(), 1U);
  EXPECT_EQ(length_of(diagnosis.late_time, Kind::network), diagnosis.probes.baseline_rtt_ns);
  EXPECT_EQ(length_of(diagnosis.late_time, Kind::unexplained), evidence.probes[200].rtt_ns() - diagnosis.probes.baseline_rtt_ns);
}

TEST(LateTime, between_the_queues_goes_to_the_wait_of_the_cpu_that_had_the_packet_in_hand) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'999'500 * us, 2'000'200 * us);
  // Taken out of the queue soon; the reply comes only 20 ms later, because NET_RX itself took that long.
  std::int64_t received_ns = 0;
  for (evidence::PacketRecord& packet : evidence.packets) {
    if (packet.sequence != 200) {
      continue;
    }
    if (packet.leg == evidence::PacketLeg::request) {
      received_ns = packet.received_ns;
    } else {
      packet.enqueued_ns += 20 * ms;
      packet.received_ns += 20 * ms;
    }
  }
  evidence.probes[200].received_ns += 20 * ms;
  const std::int64_t start_ns = received_ns - testing::run_start_ns;
  add_wait(evidence, 0, WaitMode::net_rx_work, start_ns, start_ns + 20 * ms);
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_EQ(diagnosis.late_probes.size(), 1U);
  EXPECT_EQ(length_of(diagnosis.late_time, Kind::wait, WaitMode::net_rx_work), 20 * ms);
  EXPECT_EQ(sum_of(diagnosis.late_time), evidence.probes[200].score_ns());
}

TEST(LateTime, of_a_probe_sent_late_is_the_probers_own_for_that_long) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'003 * ms, 1'063 * ms);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'003 * ms, 1'063 * ms);
  evidence.probes[102].intended_ns -= 4 * ms;
  const Diagnosis diagnosis = diagnose(evidence);
  const auto late = std::find_if(diagnosis.late_probes.begin(), diagnosis.late_probes.end(),
                                 [](const LateProbe& candidate) { return candidate.probe == 102; });
  ASSERT_NE(late, diagnosis.late_probes.end());
  EXPECT_EQ(length_of(late->parts, Kind::prober), evidence.probes[102].own_lateness_ns());
}

}  // namespace
}  // namespace stallscope::diagnose
