// SPDX-License-Identifier: Apache-2.0
#include "diagnose/wait_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "diagnose/arithmetic.h"
#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose {
namespace {

using evidence::WaitMode;
using testing::add_wait;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::ms;
using testing::run_start_ns;

TEST(WaitIndex, finds_a_long_wait_behind_many_short_ones) {
  evidence::Evidence evidence = testing::quiet_run(1);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 0, 500 * ms);
  add_wait(evidence, 0, WaitMode::softirq_vector, 10 * ms, 20 * ms);
  add_wait(evidence, 1, WaitMode::softirq_vector, 400 * ms, 410 * ms);
  const WaitIndex index(evidence, TimeWindow(evidence.run));
  EXPECT_THAT(index.overlapping(0, run_start_ns + 405 * ms, run_start_ns + 406 * ms), ElementsAre(0));
  EXPECT_THAT(index.overlapping(run_start_ns + 405 * ms, run_start_ns + 406 * ms), ElementsAre(0, 2));
  EXPECT_THAT(index.overlapping(5, run_start_ns, run_start_ns + 406 * ms), IsEmpty());
}

TEST(WaitIndex, counts_and_leaves_out_impossible_waits) {
  evidence::Evidence evidence = testing::quiet_run(1);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 20 * ms, 10 * ms);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 20 * ms, 20 * ms);
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 0, 0).end_ns = std::numeric_limits<std::int64_t>::max();
  const WaitIndex index(evidence, TimeWindow(evidence.run));
  EXPECT_THAT(index.all(), IsEmpty());
  EXPECT_EQ(index.unusable_count(), 3);
}

TEST(WaitIndex, agrees_with_looking_at_every_wait) {
  std::mt19937 random(7);
  evidence::Evidence evidence = testing::quiet_run(100);
  for (int i = 0; i < 300; ++i) {
    const auto start_ns = static_cast<std::int64_t>(random() % 1000) * ms;
    const auto length_ns = static_cast<std::int64_t>((random() % 90) + 1) * ms;
    add_wait(evidence, 0, WaitMode::hard_irqs_off, start_ns, start_ns + length_ns);
  }
  const WaitIndex index(evidence, TimeWindow(evidence.run));
  for (int i = 0; i < 300; ++i) {
    const std::int64_t from_ns = run_start_ns + static_cast<std::int64_t>(random() % 1000) * ms;
    const std::int64_t to_ns = from_ns + static_cast<std::int64_t>(random() % 50) * ms + 1;
    std::vector<std::size_t> expected;
    for (std::size_t wait = 0; wait < evidence.waits.size(); ++wait) {
      if (overlap_ns(evidence.waits[wait].start_ns, evidence.waits[wait].end_ns, from_ns, to_ns) > 0) {
        expected.push_back(wait);
      }
    }
    EXPECT_THAT(index.overlapping(0, from_ns, to_ns), ::testing::UnorderedElementsAreArray(expected));
  }
}

}  // namespace
}  // namespace stallscope::diagnose
