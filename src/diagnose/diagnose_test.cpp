// SPDX-License-Identifier: Apache-2.0
#include "diagnose/diagnose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(Diagnose, nothing_recorded_is_clean_but_says_what_it_could_not_see) {
  const Diagnosis diagnosis = diagnose(Evidence{});
  EXPECT_EQ(diagnosis.outcome, Outcome::clean);
  EXPECT_THAT(diagnosis.gaps, Contains(Field(&evidence::GapRecord::what, "the kernel")));
}

TEST(Diagnose, lost_probes_are_a_finding_of_their_own) {
  const Diagnosis diagnosis = diagnose(testing::loss_only());
  EXPECT_THAT(diagnosis.stalls, IsEmpty());
  EXPECT_EQ(diagnosis.outcome, Outcome::findings);
  EXPECT_THAT(diagnosis.notes, Contains(HasSubstr("3 probes were never answered")));
}

TEST(Diagnose, lateness_of_the_prober_without_a_wait_is_no_finding) {
  Evidence evidence = testing::own_lateness();
  evidence.waits.clear();
  const Diagnosis diagnosis = diagnose(evidence);
  EXPECT_EQ(diagnosis.outcome, Outcome::clean);
  EXPECT_THAT(diagnosis.notes, Contains(HasSubstr("the prober itself")));
}

TEST(Diagnose, carries_losses_and_gaps_and_leaves_out_losses_of_nothing) {
  const Diagnosis diagnosis = diagnose(testing::lost_events());
  ASSERT_THAT(diagnosis.losses, SizeIs(1));
  EXPECT_EQ(diagnosis.losses[0].count, 1'204);
  EXPECT_THAT(diagnosis.gaps, Contains(Field(&evidence::GapRecord::what, "rstat flush sections")));
  EXPECT_THAT(diagnosis.gaps, Contains(Field(&evidence::GapRecord::consequence, HasSubstr("by time alone"))));
}

TEST(Diagnose, records_with_impossible_times_are_a_gap) {
  Evidence evidence = testing::quiet_run(100);
  evidence.probes[3].sent_ns = -1;
  EXPECT_THAT(diagnose(evidence).gaps, Contains(Field(&evidence::GapRecord::what, "1 records")));
}

TEST(Diagnose, noise_that_hides_short_stalls_is_told) {
  Evidence evidence = testing::quiet_run(500);
  for (std::size_t index = 0; index < evidence.probes.size(); ++index) {
    evidence.probes[index].received_ns += static_cast<std::int64_t>(index * 37 % 40) * testing::ms;
  }
  EXPECT_THAT(diagnose(evidence).notes, Contains(HasSubstr("shorter stalls are not told from noise")));
}

}  // namespace
}  // namespace stallscope::diagnose
