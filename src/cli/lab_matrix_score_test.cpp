// SPDX-License-Identifier: Apache-2.0
#include "cli/lab_matrix_score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "diagnose/diagnose.h"

namespace stallscope::cli {
namespace {

using base::ns_per_ms;
using base::ns_per_s;
using evidence::Evidence;
using evidence::WaitMode;
using ::testing::ElementsAre;

/// A node's own traffic held once on CPU 0, for 50 ms, by a process.
Evidence held_by(const std::string& comm, WaitMode mode = WaitMode::hard_irqs_off) {
  Evidence evidence;
  evidence.run.start_ns = 1 * ns_per_s;
  evidence.run.end_ns = 10 * ns_per_s;
  evidence.run.traced = true;
  evidence.run.cpu_count = 2;
  evidence::WaitRecord wait;
  wait.id = 1;
  wait.cpu = 0;
  wait.mode = mode;
  wait.start_ns = wait.earliest_start_ns = wait.latest_start_ns = 5 * ns_per_s;
  wait.end_ns = wait.start_ns + 50 * ns_per_ms;
  wait.packets_released = 5;
  evidence::Occupant occupant;
  occupant.pid = 7;
  occupant.tgid = 7;
  occupant.comm = comm;
  occupant.syscall_number = 1;
  occupant.file = "/dev/null";
  occupant.held_ns = wait.length_ns();
  wait.occupants = {occupant};
  evidence.waits = {wait};
  return evidence;
}

TrueStall truth() {
  return {.start_ns = 5 * ns_per_s,
          .end_ns = 5 * ns_per_s + 50 * ns_per_ms,
          .cpu = 0,
          .rule = "irq-off-section",
          .mode = "hard_irqs_off",
          .pid = 7,
          .syscall = "write",
          .file = "/dev/null"};
}

MatrixScore compare(const TrueStall& one, const Evidence& evidence) {
  return score({one}, evidence, diagnose::diagnose(evidence));
}

TEST(MatrixScore, IsRightWhereEverythingIs) {
  const MatrixScore result = compare(truth(), held_by("lab-irqs-off"));
  EXPECT_EQ(result.stall_count, 1);
  EXPECT_THAT(result.blamed, ElementsAre("irq-off-section"));
  EXPECT_TRUE(result.right());
}

TEST(MatrixScore, TimesThatFrameStallsSayNothingOfTheirLength) {
  const Evidence evidence = held_by("lab-irqs-off");
  TrueStall frame = truth();
  frame.start_ns -= 100 * ns_per_ms;
  frame.end_ns += 900 * ns_per_ms;
  EXPECT_EQ(compare(frame, evidence).length_count, 0);
  frame.frames_stalls = true;
  EXPECT_TRUE(compare(frame, evidence).right());
}

TEST(MatrixScore, AmongFramedStallsTheOneThatIsBlamedRightlyCounts) {
  Evidence evidence = held_by("lab-irqs-off");
  evidence::WaitRecord longer = evidence.waits[0];
  longer.id = 2;
  longer.mode = WaitMode::bh_off;
  longer.start_ns = longer.earliest_start_ns = longer.latest_start_ns = 6 * ns_per_s;
  longer.end_ns = longer.start_ns + 80 * ns_per_ms;
  evidence.waits.push_back(longer);
  TrueStall frame = truth();
  frame.end_ns += 2 * ns_per_s;
  EXPECT_EQ(compare(frame, evidence).cause_count, 0);
  frame.frames_stalls = true;
  EXPECT_EQ(compare(frame, evidence).cause_count, 1);
}

TEST(MatrixScore, OfWhatIsToBeBlamedOnNothingThereIsNothingToFind) {
  const nlohmann::json harmless = {{"type", "stall"}, {"start_ns", 1}, {"end_ns", 2}, {"rule", "none"}, {"mode", "none"}};
  nlohmann::json frame = harmless;
  frame["rule"] = "slab-shrink";
  frame["frames_stalls"] = true;
  const std::vector<TrueStall> stalls = true_stalls({harmless, frame});
  ASSERT_EQ(stalls.size(), 1U);
  EXPECT_EQ(stalls[0].rule, "slab-shrink");
  EXPECT_TRUE(stalls[0].frames_stalls);
}

TEST(MatrixScore, EachAspectCanBeWrong) {
  const Evidence evidence = held_by("lab-irqs-off");
  TrueStall wrong = truth();
  wrong.rule = "memcg-stat-flush";
  EXPECT_EQ(compare(wrong, evidence).cause_count, 0);
  wrong = truth();
  wrong.mode = "bh_off";
  EXPECT_EQ(compare(wrong, evidence).mode_count, 0);
  wrong = truth();
  wrong.cpu = 1;
  EXPECT_EQ(compare(wrong, evidence).cpu_count, 0);
  wrong = truth();
  wrong.end_ns += 4 * ns_per_ms;
  EXPECT_EQ(compare(wrong, evidence).length_count, 0);
  wrong = truth();
  wrong.pid = 8;
  EXPECT_EQ(compare(wrong, evidence).holder_count, 0);
  wrong = truth();
  wrong.syscall = "read";
  EXPECT_EQ(compare(wrong, evidence).holder_count, 0);
  wrong = truth();
  wrong.file = "/dev/zero";
  EXPECT_EQ(compare(wrong, evidence).file_count, 0);
  EXPECT_FALSE(compare(wrong, evidence).right());
}

TEST(MatrixScore, AWaitThatBeginsWithAPacketMayBeginOneProbeLater) {
  TrueStall longer = truth();
  longer.mode = "bh_off";
  longer.rule = "bh-off-section";
  longer.start_ns -= 8 * ns_per_ms;
  Evidence evidence = held_by("lab-bh-off", WaitMode::bh_off);
  evidence.run.probe_interval_ns = 10 * ns_per_ms;
  EXPECT_EQ(compare(longer, evidence).length_count, 1);
  longer.start_ns -= 8 * ns_per_ms;
  EXPECT_EQ(compare(longer, evidence).length_count, 0);
}

TEST(MatrixScore, WhatTheTruthDoesNotNameIsNotAsked) {
  TrueStall sparse = truth();
  sparse.pid.reset();
  sparse.syscall.reset();
  sparse.file.reset();
  EXPECT_TRUE(compare(sparse, held_by("lab-irqs-off")).right());
}

TEST(MatrixScore, AStallThatWasNotFoundIsCounted) {
  TrueStall elsewhere = truth();
  elsewhere.start_ns -= ns_per_s;
  elsewhere.end_ns -= ns_per_s;
  const MatrixScore result = compare(elsewhere, held_by("lab-irqs-off"));
  EXPECT_EQ(result.stall_count, 1);
  EXPECT_EQ(result.found_count, 0);
  EXPECT_THAT(result.blamed, ElementsAre(""));
  EXPECT_EQ(result.invented_count, 1);
  EXPECT_FALSE(result.right());
}

TEST(MatrixScore, AtTheEdgesOfTheRecordingNothingIsCounted) {
  Evidence evidence = held_by("lab-irqs-off");
  evidence.run.start_ns = truth().start_ns - 1;
  const MatrixScore result = compare(truth(), evidence);
  EXPECT_EQ(result.stall_count, 0);
  EXPECT_EQ(result.invented_count, 0);
}

TEST(MatrixScore, InAControlTheLabsOwnStallIsWrongAndThatOfOthersIsNot) {
  const auto control = [](const Evidence& evidence) { return score({}, evidence, diagnose::diagnose(evidence)); };
  const MatrixScore own = control(held_by("lab-irqs-off"));
  EXPECT_EQ(own.invented_count, 1);
  EXPECT_THAT(own.invented_causes, ElementsAre("irq-off-section"));
  const MatrixScore others = control(held_by("backup"));
  EXPECT_EQ(others.foreign_count, 1);
  EXPECT_TRUE(others.right());
  EXPECT_EQ(control(held_by("swapper/0", WaitMode::vcpu_stolen)).foreign_count, 1);
}

TEST(MatrixScore, AKernelThreadMayWorkForTheLabOrForNobody) {
  const auto control_with = [](const std::string& comm, WaitMode mode = WaitMode::hard_irqs_off) {
    Evidence evidence = held_by(comm, mode);
    evidence.waits[0].occupants[0].kernel_thread = true;
    return score({}, evidence, diagnose::diagnose(evidence));
  };
  EXPECT_EQ(control_with("kworker/0:1").invented_count, 1);
  EXPECT_EQ(control_with("kdamond.0").invented_count, 0);
  EXPECT_EQ(control_with("kdamond.0").foreign_count, 1);
  EXPECT_EQ(control_with("ksoftirqd/0", WaitMode::napi_budget).invented_count, 1);
  EXPECT_EQ(control_with("ksoftirqd/0").foreign_count, 1) << "with interrupts off it does nobody's work";
  EXPECT_EQ(control_with("napi/n0-607", WaitMode::napi_thread_delayed).invented_count, 1);
  EXPECT_EQ(control_with("napi/n0-607").foreign_count, 1);
}

TEST(MatrixScore, AWorkerBetweenTwoItemsWorksForNobody) {
  const auto control_with = [](std::vector<std::string> frames) {
    Evidence evidence = held_by("kworker/u8:4");
    evidence.stacks.push_back({4711, std::move(frames)});
    evidence.waits[0].occupants[0].kernel_thread = true;
    evidence.waits[0].occupants[0].stack_id = 4711;
    return score({}, evidence, diagnose::diagnose(evidence));
  };
  EXPECT_EQ(control_with({"_raw_spin_unlock_irq", "process_one_work", "worker_thread", "kthread"}).foreign_count, 1);
  EXPECT_EQ(control_with({"_raw_spin_unlock_irq", "css_free_rwork_fn", "process_one_work", "kthread"}).invented_count, 1);
}

TEST(MatrixScore, WhereAKernelWorkerCameFirstItsStallIsNoMistakeAndTheReadNotAsked) {
  Evidence evidence = held_by("kworker/0:1");
  evidence.waits[0].occupants[0].kernel_thread = true;
  TrueStall read = truth();
  read.start_ns += 60 * ns_per_ms;
  read.end_ns += 60 * ns_per_ms;
  EXPECT_EQ(compare(read, evidence).invented_count, 1);
  read.window_start_ns = truth().start_ns;
  EXPECT_EQ(compare(read, evidence).invented_count, 0);
  EXPECT_EQ(compare(read, evidence).stall_count, 1);
  read.by_others = true;
  EXPECT_EQ(compare(read, evidence).stall_count, 0);
  EXPECT_TRUE(compare(read, evidence).right());
  EXPECT_EQ(compare(read, held_by("lab-irqs-off")).invented_count, 1) << "of the lab's own process it is one";
}

TEST(MatrixScore, WhereThePathIsInnocentAFindingHasToSayWhy) {
  TrueStall innocent = truth();
  innocent.mode = "none";
  innocent.rule = "socket-unread";
  Evidence evidence = held_by("lab-irqs-off");
  evidence.waits.clear();
  diagnose::Diagnosis diagnosis = diagnose::diagnose(evidence);
  EXPECT_FALSE(score({innocent}, evidence, diagnosis).right());
  diagnosis.findings.push_back({});
  diagnosis.findings.back().rule_id = "socket-unread";
  EXPECT_TRUE(score({innocent}, evidence, diagnosis).right());
  EXPECT_THAT(score({}, evidence, diagnosis).invented_causes, ElementsAre("socket-unread"));
}

TEST(MatrixScore, OutsideOfTheTurnsThePreparationsOfAFaultAreLeftOut) {
  const Evidence evidence = held_by("lab-irqs-off");
  const diagnose::Diagnosis diagnosis = diagnose::diagnose(evidence);
  const TrueStall stall = truth();
  EXPECT_EQ(score({}, evidence, diagnosis, std::vector<LabTurn>{{stall.start_ns, stall.end_ns}}).invented_count, 1);
  const MatrixScore before = score({}, evidence, diagnosis, std::vector<LabTurn>{{stall.end_ns, stall.end_ns + ns_per_s}});
  EXPECT_EQ(before.invented_count, 0);
  EXPECT_EQ(before.foreign_count, 1);
}

TEST(LabTurns, AreOfTheFaultAndOfItsControl) {
  const std::vector<LabTurn> turns =
      lab_turns({{{"type", "ready"}}, {{"type", "control"}, {"start_ns", 3}, {"end_ns", 4}}, {{"type", "end"}, {"stalls", 1}}});
  ASSERT_EQ(turns.size(), 1U);
  EXPECT_EQ(turns[0].start_ns, 3);
  EXPECT_EQ(turns[0].end_ns, 4);
}

TEST(TrueStalls, AreReadFromTheLinesThatAreStalls) {
  const std::vector<nlohmann::json> lines = {{{"type", "ready"}, {"cpu", 0}},
                                             {{"type", "stall"},
                                              {"cpu", 1},
                                              {"start_ns", 5},
                                              {"end_ns", 9},
                                              {"pid", 3},
                                              {"syscall", nullptr},
                                              {"rule", "r"},
                                              {"mode", "m"}}};
  const std::vector<TrueStall> stalls = true_stalls(lines);
  ASSERT_EQ(stalls.size(), 1U);
  EXPECT_EQ(stalls[0].cpu, 1);
  EXPECT_EQ(stalls[0].end_ns, 9);
  EXPECT_EQ(stalls[0].pid, 3);
  EXPECT_FALSE(stalls[0].syscall);
  EXPECT_FALSE(stalls[0].file);
}

}  // namespace
}  // namespace stallscope::cli
