// SPDX-License-Identifier: Apache-2.0
#include "bisect/stall_tracker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bisect/simulation.h"

namespace stallscope::bisect {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::int64_t ms = base::ns_per_ms;

/// Two rungs, probed every 10 ms, 5 ms apart; all punctual in 1 ms but what a test changes.
class TwoRungs : public testing::Test {
 protected:
  TwoRungs() {
    for (std::int64_t i = 0; i < 200; ++i) {
      const std::int64_t sent_ns = (1000 + (i * 5)) * ms;
      probes_.push_back({static_cast<std::size_t>(i % 2), sent_ns, sent_ns, sent_ns + ms});
    }
  }
  /// The probe sent at `at_ms` after the start.
  Observation& at(std::int64_t at_ms) { return probes_.at(static_cast<std::size_t>(at_ms / 5)); }
  /// What is sent to the rung from `from_ms` on waits until `until_ms`.
  void stall(std::size_t rung, std::int64_t from_ms, std::int64_t until_ms) {
    for (Observation& probe : probes_) {
      if (probe.rung == rung && probe.sent_ns >= (1000 + from_ms) * ms && probe.sent_ns < (1000 + until_ms) * ms) {
        probe.received_ns = (1001 + until_ms) * ms;
      }
    }
  }
  std::vector<Stall> all() {
    for (const Observation& probe : probes_) {
      tracker_.add(probe);
    }
    return tracker_.settle(0, true);
  }

  std::vector<Observation> probes_;
  StallTracker tracker_{2, {}};
};

TEST_F(TwoRungs, WithoutLateAnswersThereIsNoStall) {
  EXPECT_THAT(all(), IsEmpty());
  EXPECT_EQ(tracker_.rungs()[0].usual_ns, ms);
  EXPECT_EQ(tracker_.rungs()[0].answered, 100);
}

TEST_F(TwoRungs, LateAnswersOfBothAreOneStall) {
  stall(0, 300, 350);
  stall(1, 300, 350);
  const std::vector<Stall> stalls = all();
  ASSERT_THAT(stalls, SizeIs(1));
  EXPECT_EQ(stalls[0].start_ns, 1300 * ms);
  EXPECT_EQ(stalls[0].end_ns, 1350 * ms);
  EXPECT_EQ(stalls[0].hit, RungSet("11"));
  EXPECT_EQ(stalls[0].exposed, RungSet("11"));
  EXPECT_EQ(tracker_.rungs()[0].stalled_ns, 50 * ms);
  EXPECT_EQ(tracker_.rungs()[1].stalled_ns, 45 * ms);
}

TEST_F(TwoRungs, ARungIsExposedOnlyByAProbeThatWouldHaveBeenLate) {
  // Rung 1 sends at 305, 3 ms before the end: crossing the cause it would not have been late either.
  at(300).received_ns = 1309 * ms;
  // And at 405, 20 ms before.
  at(400).received_ns = 1426 * ms;
  const std::vector<Stall> stalls = all();
  ASSERT_THAT(stalls, SizeIs(2));
  EXPECT_EQ(stalls[0].exposed, RungSet("01"));
  EXPECT_EQ(stalls[1].exposed, RungSet("11"));
  EXPECT_EQ(stalls[1].hit, RungSet("01"));
}

TEST_F(TwoRungs, ARungThatWasLateForALittleOfAStallIsNoWitnessOfIt) {
  stall(0, 300, 400);
  // A server that waited for its turn meanwhile, for instance: 20 of 100 ms.
  at(345).received_ns += 20 * ms;
  const std::vector<Stall> stalls = all();
  ASSERT_THAT(stalls, SizeIs(1));
  EXPECT_EQ(stalls[0].hit, RungSet("01"));
  EXPECT_EQ(stalls[0].exposed, RungSet("01"));
  EXPECT_EQ(tracker_.rungs()[1].late, 1);
  EXPECT_EQ(tracker_.rungs()[1].stall_count, 0);
}

TEST_F(TwoRungs, StallsThatDoNotTouchAreTwo) {
  stall(0, 300, 320);
  stall(0, 330, 350);
  EXPECT_THAT(all(), SizeIs(2));
}

TEST_F(TwoRungs, ALostProbeIsNoLateOneAndNoEvidence) {
  stall(0, 300, 312);
  at(305).received_ns = Observation::lost;
  const std::vector<Stall> stalls = all();
  ASSERT_THAT(stalls, SizeIs(1));
  EXPECT_EQ(stalls[0].exposed, RungSet("01"));
  EXPECT_EQ(tracker_.rungs()[1].lost, 1);
}

TEST_F(TwoRungs, WhatTheProberSentLateCountsForNothingAndSetsItsStallAside) {
  stall(0, 300, 350);
  Observation& own = at(305);
  own.sent_ns += 30 * ms;
  own.received_ns = own.sent_ns + (40 * ms);
  EXPECT_THAT(all(), IsEmpty());
  EXPECT_EQ(tracker_.stalls_set_aside(), 1);
  EXPECT_EQ(tracker_.own_stall_count(), 1);
  EXPECT_EQ(tracker_.own_stalled_ns(), 30 * ms);
  EXPECT_EQ(tracker_.rungs()[1].own_late, 1);
}

TEST_F(TwoRungs, AProberElsewhereThatStoodStillIsNoWitnessAndDelaysNobody) {
  stall(0, 300, 350);
  // One punctual probe of the other rung falls into the stall; all that follow were sent when it was over.
  for (Observation& probe : probes_) {
    probe.from_elsewhere = probe.rung == 1;
    if (probe.from_elsewhere && probe.sent_ns > 1310 * ms && probe.sent_ns < 1350 * ms) {
      probe.sent_ns = 1350 * ms;
      probe.received_ns = 1351 * ms;
    }
  }
  const std::vector<Stall> stalls = all();
  ASSERT_THAT(stalls, SizeIs(1));
  EXPECT_EQ(stalls[0].hit, RungSet("01"));
  EXPECT_EQ(stalls[0].exposed, RungSet("01"));
  EXPECT_EQ(tracker_.stalls_set_aside(), 0);
  EXPECT_EQ(tracker_.own_stall_count(), 0);
  EXPECT_GT(tracker_.rungs()[1].own_late, 0);
}

TEST_F(TwoRungs, AProberWhoseLateProbesWereNeverToldIsNoWitness) {
  stall(0, 300, 350);
  tracker_.add_absence(1, 1340 * ms, 1400 * ms);
  const std::vector<Stall> stalls = all();
  ASSERT_THAT(stalls, SizeIs(1));
  EXPECT_EQ(stalls[0].exposed, RungSet("01"));
}

TEST_F(TwoRungs, ANoisyRungIsNotLateForItsNoise) {
  for (std::size_t i = 0; i < probes_.size(); i += 2) {
    probes_[i].received_ns += static_cast<std::int64_t>(i % 10) * ms;
  }
  EXPECT_THAT(all(), IsEmpty());
  EXPECT_GT(tracker_.rungs()[0].late_after_ns, 5 * ms);
  EXPECT_EQ(tracker_.rungs()[1].late_after_ns, 5 * ms);
}

TEST(StallTracker, FindsTheSamePieceByPieceAsAtOnce) {
  const Path path = service_path();
  const std::vector<Observation> observations =
      simulate(path, {.faults = {{.layer = "node", .per_second = 3}, {.layer = "nat", .per_second = 3}}, .loss = 0.01}, 7);
  StallTracker whole(path.rungs.size(), {});
  StallTracker pieces(path.rungs.size(), {});
  std::vector<Stall> stalls;
  std::int64_t next_ns = 2 * base::ns_per_s;
  for (const Observation& observation : observations) {
    whole.add(observation);
    if (observation.intended_ns > next_ns) {
      const std::vector<Stall> more = pieces.settle(next_ns - base::ns_per_s - (200 * ms));
      stalls.insert(stalls.end(), more.begin(), more.end());
      next_ns += 130 * ms;
    }
    pieces.add(observation);
  }
  const std::vector<Stall> rest = pieces.settle(0, true);
  stalls.insert(stalls.end(), rest.begin(), rest.end());
  const std::vector<Stall> expected = whole.settle(0, true);
  ASSERT_EQ(stalls.size(), expected.size());
  ASSERT_GT(stalls.size(), 100U);
  for (std::size_t i = 0; i < stalls.size(); ++i) {
    EXPECT_EQ(stalls[i].hit, expected[i].hit);
    EXPECT_EQ(stalls[i].exposed, expected[i].exposed);
    // The median differs a little while it is young.
    EXPECT_NEAR(static_cast<double>(stalls[i].end_ns), static_cast<double>(expected[i].end_ns), 100'000);
  }
}

}  // namespace
}  // namespace stallscope::bisect
