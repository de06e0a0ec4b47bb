// SPDX-License-Identifier: Apache-2.0
#include "diagnose/episodes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;
using testing::hold_probes;
using testing::ms;
using testing::run_start_ns;
using testing::second;
using testing::us;

ProbeAnalysis analyse(const Evidence& evidence) {
  return analyse_probes(evidence, TimeWindow(evidence.run));
}

TEST(Episodes, a_quiet_run_has_none) {
  const ProbeAnalysis analysis = analyse(testing::quiet_run(500));
  EXPECT_TRUE(analysis.episodes.empty());
  EXPECT_EQ(analysis.summary.late_count, 0);
  EXPECT_EQ(analysis.summary.answered_count, 500);
  EXPECT_NEAR(static_cast<double>(analysis.summary.baseline_rtt_ns), 126e3, 10e3);
}

TEST(Episodes, probes_released_together_are_one_episode_with_slope_minus_one) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'003 * ms, 1'103 * ms);
  const ProbeAnalysis analysis = analyse(evidence);
  ASSERT_EQ(analysis.episodes.size(), 1U);
  const Episode& episode = analysis.episodes.front();
  EXPECT_EQ(episode.held.first_sequence, 101);
  // The last one, sent 3 ms before the release, was not late.
  EXPECT_EQ(episode.held.last_sequence, 109);
  EXPECT_EQ(episode.held.release, Release::together);
  ASSERT_TRUE(episode.held.fit);
  EXPECT_NEAR(episode.held.fit->slope, -1.0, 0.01);
  EXPECT_EQ(episode.earliest_start_ns, evidence.probes[100].sent_ns);
  EXPECT_EQ(episode.latest_start_ns, evidence.probes[101].sent_ns);
  EXPECT_EQ(episode.release_ns, evidence.probes[109].received_ns);
}

TEST(Episodes, two_stalls_without_a_probe_on_time_between_them_are_two) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'003 * ms, 1'057 * ms);
  hold_probes(evidence, 0, 1'058 * ms, 1'104 * ms);
  const ProbeAnalysis analysis = analyse(evidence);
  ASSERT_EQ(analysis.episodes.size(), 2U);
  EXPECT_EQ(analysis.episodes[0].held.last_sequence, 105);
  EXPECT_EQ(analysis.episodes[1].held.first_sequence, 106);
}

TEST(Episodes, one_probe_has_no_slope) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'005 * ms, 1'019 * ms);
  const ProbeAnalysis analysis = analyse(evidence);
  ASSERT_EQ(analysis.episodes.size(), 1U);
  EXPECT_FALSE(analysis.episodes[0].held.fit);
  EXPECT_EQ(analysis.episodes[0].held.release, Release::unknown);
}

TEST(Episodes, a_slow_path_is_one_episode_that_was_not_released_together) {
  Evidence evidence = testing::quiet_run(500);
  for (std::size_t index = 100; index < 140; ++index) {
    evidence.probes[index].received_ns += 20 * ms;
  }
  const ProbeAnalysis analysis = analyse(evidence);
  ASSERT_EQ(analysis.episodes.size(), 1U);
  EXPECT_EQ(analysis.episodes[0].held.probes.size(), 40U);
  EXPECT_EQ(analysis.episodes[0].held.release, Release::apart);
}

TEST(Episodes, noise_raises_the_limit) {
  Evidence evidence = testing::quiet_run(500);
  for (std::size_t index = 0; index < evidence.probes.size(); ++index) {
    evidence.probes[index].received_ns += static_cast<std::int64_t>(index * 37 % 40) * ms;
  }
  EXPECT_GT(analyse(evidence).summary.late_after_ns, 50 * ms);
  EXPECT_EQ(analyse(evidence).summary.late_count, 0);
}

TEST(Fates, lateness_of_the_prober_itself_is_told_apart) {
  Evidence evidence = testing::quiet_run(500);
  evidence.probes[50].sent_ns += 30 * ms;
  evidence.probes[50].received_ns += 30 * ms;
  // Sent late and held as well: the reply took too long by itself.
  evidence.probes[60].sent_ns += 30 * ms;
  evidence.probes[60].received_ns += 50 * ms;
  const ProbeAnalysis analysis = analyse(evidence);
  EXPECT_EQ(analysis.fates[50], ProbeFate::own_late);
  EXPECT_EQ(analysis.fates[60], ProbeFate::late);
  EXPECT_EQ(analysis.summary.own_late_count, 1);
  EXPECT_EQ(analysis.summary.late_count, 1);
  EXPECT_NEAR(static_cast<double>(analysis.summary.worst_own_lateness_ns), 30e6, 1e5);
}

TEST(Fates, loss_is_not_lateness_and_the_youngest_are_undecided) {
  const ProbeAnalysis analysis = analyse(testing::loss_only());
  EXPECT_EQ(analysis.fates[200], ProbeFate::lost);
  EXPECT_EQ(analysis.fates[1999], ProbeFate::undecided);
  EXPECT_EQ(analysis.summary.lost_count, 3);
  EXPECT_EQ(analysis.summary.undecided_count, 1);
  EXPECT_EQ(analysis.summary.late_count, 0);
}

TEST(Fates, a_probe_younger_than_the_slowest_reply_is_not_lost) {
  Evidence evidence = testing::quiet_run(500);
  evidence.probes[10].received_ns += 4 * second;
  evidence.probes[400].received_ns = evidence::ProbeRecord::not_received;
  const ProbeAnalysis analysis = analyse(evidence);
  EXPECT_EQ(analysis.fates[400], ProbeFate::undecided);
}

TEST(Fates, impossible_times_are_left_out) {
  Evidence evidence = testing::quiet_run(500);
  evidence.probes[3].intended_ns = std::numeric_limits<std::int64_t>::min();
  evidence.probes[4].received_ns = evidence.probes[4].sent_ns - 1;
  evidence.probes[5].sent_ns = std::numeric_limits<std::int64_t>::max();
  const ProbeAnalysis analysis = analyse(evidence);
  EXPECT_EQ(analysis.unusable_count, 3);
  EXPECT_EQ(analysis.summary.sent_count, 497);
}

TEST(Episodes, the_order_of_the_records_does_not_matter) {
  Evidence evidence = testing::quiet_run(500);
  hold_probes(evidence, 0, 1'003 * ms, 1'103 * ms);
  std::reverse(evidence.probes.begin(), evidence.probes.end());
  const ProbeAnalysis analysis = analyse(evidence);
  ASSERT_EQ(analysis.episodes.size(), 1U);
  EXPECT_EQ(analysis.episodes[0].held.first_sequence, 101);
  EXPECT_EQ(analysis.episodes[0].held.release, Release::together);
}

TEST(Episodes, each_target_and_kind_of_probe_is_judged_by_what_is_usual_for_it) {
  Evidence evidence = testing::quiet_run(400);
  evidence.flows = {{1, evidence::ProbeKind::icmp_echo, "near", "", 0, "10.0.0.1", 0},
                    {2, evidence::ProbeKind::tcp_syn, "far", "", 40'000, "10.9.0.1", 443},
                    {3, evidence::ProbeKind::tcp_syn, "far", "", 40'001, "10.9.0.1", 443}};
  for (std::size_t index = 0; index < evidence.probes.size(); ++index) {
    const bool far = index % 2 == 1;
    evidence.probes[index].flow_id = far ? 2 + static_cast<std::int64_t>(index / 2 % 2) : 1;
    evidence.probes[index].received_ns += far ? 80 * ms : 0;
  }
  EXPECT_EQ(analyse(evidence).summary.late_count, 0) << "far away is not late";
  evidence.probes[200].received_ns += 20 * ms;
  const ProbeAnalysis analysis = analyse(evidence);
  EXPECT_EQ(analysis.summary.late_count, 1) << "although sooner than everything from afar";
  EXPECT_EQ(analysis.fates[200], ProbeFate::late);
}

}  // namespace
}  // namespace stallscope::diagnose
