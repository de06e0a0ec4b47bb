// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "diagnose/diagnose.h"
#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose::rules {
namespace {

using evidence::Evidence;
using evidence::ThrottledCgroupRecord;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ms;

ThrottledCgroupRecord throttled(std::int64_t throttled_count, std::int64_t each_ns, std::int32_t process_count = 1) {
  return {"/docker/3f2a1b9c0d4e5f60718293a4b5c6d7e8f90112233445566778899aabbccddee0",
          20 * ms,
          120 * ms,
          40,
          throttled_count,
          throttled_count * each_ns,
          process_count,
          812,
          "server",
          "tcp",
          "10.0.1.2:8080"};
}

Diagnosis diagnosis_of(std::vector<ThrottledCgroupRecord> cgroups) {
  Evidence evidence = testing::quiet_run(500);
  evidence.throttled_cgroups = std::move(cgroups);
  return diagnose(evidence);
}

TEST(CfsThrottling, names_the_server_and_its_limit_and_clears_the_packet_path) {
  const Diagnosis diagnosis = diagnosis_of({throttled(38, 100 * ms)});
  ASSERT_EQ(diagnosis.findings.size(), 1U);
  const Finding& finding = diagnosis.findings[0];
  EXPECT_EQ(finding.rule_id, "cfs-throttling");
  EXPECT_EQ(
      finding.cause,
      "server (pid 812), whose socket is tcp 10.0.1.2:8080, was throttled by its CPU quota in 38 of 40 periods, 100 ms each on "
      "average");
  EXPECT_THAT(finding.no_stall, HasSubstr("the packet path is innocent"));
  EXPECT_THAT(finding.claims, IsEmpty());
  EXPECT_EQ(finding.confidence, Confidence::high);
  EXPECT_THAT(finding.evidence_for, ElementsAre(HasSubstr("(docker container 3f2a1b9c0d4e): may run 20 ms in every 120 ms; "
                                                          "throttled in 38 of 40 periods, for 3.8 s in all")));
  EXPECT_EQ(diagnosis.outcome, Outcome::findings);
}

TEST(CfsThrottling, is_not_what_makes_nothing_late) {
  EXPECT_THAT(diagnosis_of({}).findings, IsEmpty());
  EXPECT_THAT(diagnosis_of({throttled(0, 100 * ms)}).findings, IsEmpty());
  EXPECT_THAT(diagnosis_of({throttled(40, 4 * ms)}).findings, IsEmpty());
  EXPECT_EQ(diagnosis_of({throttled(40, 5 * ms)}).findings.size(), 1U);
}

TEST(CfsThrottling, is_less_sure_of_rare_throttling_and_of_one_server_among_many) {
  EXPECT_EQ(diagnosis_of({throttled(3, 100 * ms)}).findings.at(0).confidence, Confidence::medium);
  const Finding shared = diagnosis_of({throttled(38, 100 * ms, 5)}).findings.at(0);
  EXPECT_EQ(shared.confidence, Confidence::medium);
  EXPECT_EQ(shared.confidence_reason, "5 processes with sockets share that limit");
}

TEST(CfsThrottling, does_not_take_the_sum_over_cpus_for_one_wait) {
  const Finding finding = diagnosis_of({throttled(38, 300 * ms)}).findings.at(0);
  EXPECT_THAT(finding.cause, HasSubstr("up to 120 ms each"));
  EXPECT_THAT(finding.evidence_for, ElementsAre(HasSubstr("11.4 s in all, summed over its CPUs")));
}

TEST(CfsThrottling, tells_the_worst_first_and_counts_what_it_leaves_out) {
  std::vector<ThrottledCgroupRecord> many(7, throttled(10, 20 * ms));
  many.push_back(throttled(38, 100 * ms));
  many.back().comm = "worst";
  const Finding finding = diagnosis_of(many).findings.at(0);
  EXPECT_THAT(finding.cause, HasSubstr("worst (pid 812)"));
  EXPECT_EQ(finding.evidence_for.size(), 6U);
  EXPECT_EQ(finding.evidence_for.back(), "and 3 more cgroups");
}

}  // namespace
}  // namespace stallscope::diagnose::rules
