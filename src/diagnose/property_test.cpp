// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <random>
#include <set>
#include <utility>

#include "diagnose/diagnose.h"
#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;
using evidence::Occupant;
using evidence::WaitRecord;
using testing::ms;
using testing::us;

class Dice {
 public:
  explicit Dice(unsigned seed) : engine_(seed) {}
  std::int64_t below(std::int64_t limit) { return std::uniform_int_distribution<std::int64_t>(0, limit - 1)(engine_); }
  bool one_in(std::int64_t count) { return below(count) == 0; }
  std::int64_t anything() {
    return std::uniform_int_distribution<std::int64_t>(std::numeric_limits<std::int64_t>::min(),
                                                       std::numeric_limits<std::int64_t>::max())(engine_);
  }

 private:
  std::mt19937_64 engine_;
};

/// A run with waits, holds, losses and lateness at random; every number of it may also be nonsense.
Evidence random_evidence(unsigned seed) {
  Dice dice(seed);
  Evidence evidence = testing::quiet_run(200);
  testing::add_stacks(evidence);
  if (dice.one_in(2)) {
    testing::add_zombies(evidence, dice.below(100) * ms);
  }
  for (std::int64_t i = dice.below(20); i > 0; --i) {
    const std::int64_t start_ns = dice.below(2'000) * ms;
    const std::int64_t end_ns = start_ns + dice.below(150'000) * us;
    const auto cpu = static_cast<std::int32_t>(dice.below(3));
    if (dice.one_in(2)) {
      testing::hold_probes(evidence, cpu, start_ns, end_ns, dice.one_in(2));
    }
    WaitRecord& wait = testing::add_wait(
        evidence, cpu, evidence::all_wait_modes.at(static_cast<std::size_t>(dice.below(evidence::all_wait_modes.size()))),
        start_ns + dice.below(3) * ms, end_ns - dice.below(3) * ms);
    wait.packets_released = dice.below(5) - 1;
    wait.vector = static_cast<std::int32_t>(dice.below(12)) - 1;
    for (std::int64_t n = dice.below(4); n > 0; --n) {
      testing::hold_by_reader(wait);
      Occupant& occupant = wait.occupants.back();
      occupant.pid = static_cast<std::int32_t>(dice.below(4));
      occupant.held_ns = dice.one_in(8) ? dice.anything() : dice.below(120) * ms;
      occupant.stack_id = dice.below(5);
      occupant.syscall_number = static_cast<std::int32_t>(dice.below(20));
    }
    if (dice.one_in(3)) {
      evidence.flushes.push_back({cpu, wait.start_ns, wait.end_ns, 1, 1, "reader", "/"});
    }
  }
  for (evidence::ProbeRecord& probe : evidence.probes) {
    if (dice.one_in(20)) {
      probe.received_ns = evidence::ProbeRecord::not_received;
    } else if (dice.one_in(20)) {
      probe.sent_ns += 20 * ms;
      probe.received_ns += 20 * ms;
    } else if (dice.one_in(60)) {
      probe.received_ns = dice.anything();
    }
  }
  for (evidence::PacketRecord& packet : evidence.packets) {
    packet.enqueued_ns = dice.one_in(10) ? 0 : dice.one_in(40) ? dice.anything() : packet.enqueued_ns;
  }
  for (evidence::CounterRecord& counter : evidence.counters) {
    counter.after = dice.one_in(10) ? dice.anything() : counter.after;
  }
  if (evidence.memcg_census && dice.one_in(4)) {
    evidence.memcg_census->kernel_total = dice.anything();
    evidence.memcg_census->visible = dice.anything();
  }
  if (!evidence.waits.empty() && dice.one_in(4)) {
    evidence.waits.front().start_ns = dice.anything();
  }
  if (dice.one_in(20)) {
    evidence.run.end_ns = dice.anything();
  }
  if (dice.one_in(20)) {
    evidence.probes.clear();
    evidence.run.target.clear();
  }
  return evidence;
}

class RandomEvidence : public ::testing::TestWithParam<unsigned> {};

TEST_P(RandomEvidence, keeps_the_books) {
  constexpr unsigned runs_per_seed = 100;
  for (unsigned run = 0; run < runs_per_seed; ++run) {
    const unsigned seed = GetParam() * runs_per_seed + run;
    SCOPED_TRACE(seed);
    const Evidence evidence = random_evidence(seed);
    const Diagnosis diagnosis = diagnose(evidence);

    std::map<std::int32_t, std::int64_t> last_end_ns;
    for (const Stall& stall : diagnosis.stalls) {
      ASSERT_LT(stall.start_ns, stall.end_ns);
      std::int64_t sum_ns = 0;
      for (const Share& share : stall.shares) {
        ASSERT_GT(share.length_ns, 0);
        ASSERT_TRUE(share.kind != ShareKind::occupant || occupant_of(evidence, share) != nullptr);
        sum_ns += share.length_ns;
      }
      ASSERT_EQ(sum_ns, stall.length_ns());
      if (stall.cpu) {
        ASSERT_GE(stall.start_ns, last_end_ns[*stall.cpu]) << "stalls of one CPU overlap";
        last_end_ns[*stall.cpu] = stall.end_ns;
      }
    }
    std::set<std::pair<std::size_t, std::size_t>> claimed;
    std::int64_t explained_ns = 0;
    for (const Finding& finding : diagnosis.findings) {
      for (const Claim& claim : finding.claims) {
        ASSERT_TRUE(claimed.insert({claim.stall, claim.share}).second) << "claimed twice";
        ASSERT_EQ(claim.length_ns, diagnosis.stalls[claim.stall].shares[claim.share].length_ns);
      }
      explained_ns += finding.explained_ns;
    }
    ASSERT_LE(explained_ns, diagnosis.stalled_ns);

    for (const LateProbe& late : diagnosis.late_probes) {
      std::int64_t parts_ns = 0;
      for (const LatePart& part : late.parts) {
        ASSERT_GT(part.length_ns, 0);
        parts_ns += part.length_ns;
      }
      ASSERT_EQ(parts_ns, evidence.probes[late.probe].score_ns());
    }
    // Every late probe is in a stall.
    std::set<std::size_t> held;
    for (const Stall& stall : diagnosis.stalls) {
      held.insert(stall.held.probes.begin(), stall.held.probes.end());
    }
    for (std::size_t index = 0; index < evidence.probes.size(); ++index) {
      ASSERT_EQ(diagnosis.fates[index] == ProbeFate::late, held.contains(index)) << "probe " << index;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomEvidence, ::testing::Range(0U, 20U));

}  // namespace
}  // namespace stallscope::diagnose
