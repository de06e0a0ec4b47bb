// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "diagnose/diagnose.h"
#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose::rules {
namespace {

using evidence::CounterRecord;
using evidence::Evidence;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ms;

Evidence with_drops(std::int32_t cpu, std::int64_t count) {
  Evidence evidence = testing::quiet_run(500);
  for (CounterRecord& counter : evidence.counters) {
    if (counter.name == "softnet.dropped" && counter.cpu == cpu) {
      counter.after += count;
    }
  }
  evidence.counters.push_back({"softnet.received", cpu, 1'000, 36'000});
  return evidence;
}

TEST(BacklogDrops, are_a_finding_that_speaks_of_loss_and_of_no_stall) {
  const Diagnosis diagnosis = diagnose(with_drops(1, 7'412));
  ASSERT_EQ(diagnosis.findings.size(), 1U);
  const Finding& finding = diagnosis.findings[0];
  EXPECT_EQ(finding.rule_id, "backlog-drops");
  EXPECT_EQ(finding.cause, "the kernel dropped 7,412 received packets: more came at once than the backlog of CPU 1 takes");
  EXPECT_THAT(finding.evidence_for, ElementsAre("CPU 1 dropped 7,412 and processed 35,000"));
  EXPECT_THAT(finding.no_stall, HasSubstr("lost"));
  EXPECT_EQ(finding.explained_ns, 0);
  EXPECT_THAT(diagnosis.stalls, IsEmpty());
  EXPECT_EQ(diagnosis.outcome, Outcome::findings);
}

TEST(BacklogDrops, take_nothing_from_what_explains_a_stall_beside_them) {
  Evidence evidence = with_drops(0, 1);
  testing::hold_probes(evidence, 0, 1'003 * ms, 1'083 * ms);
  testing::add_wait(evidence, 0, evidence::WaitMode::napi_budget, 1'003 * ms, 1'083 * ms).packets_released = 20'000;
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_EQ(diagnosis.findings.size(), 2U);
  EXPECT_EQ(diagnosis.findings[0].rule_id, "napi-budget");
  EXPECT_EQ(diagnosis.findings[0].explained_ns, diagnosis.stalled_ns);
  EXPECT_EQ(diagnosis.findings[1].rule_id, "backlog-drops");
}

TEST(BacklogDrops, of_before_the_recording_are_none) {
  EXPECT_THAT(diagnose(with_drops(0, 0)).findings, IsEmpty());
}

TEST(NapiBudget, a_queue_that_was_never_empty_but_held_no_probe_is_no_stall) {
  Evidence evidence = testing::quiet_run(500);
  testing::add_wait(evidence, 0, evidence::WaitMode::napi_budget, 1'003 * ms, 1'011 * ms).packets_released = 3'500;
  EXPECT_THAT(diagnose(evidence).stalls, IsEmpty());
  evidence.probes.clear();
  EXPECT_EQ(diagnose(evidence).stalls.size(), 1U);
}

}  // namespace
}  // namespace stallscope::diagnose::rules
