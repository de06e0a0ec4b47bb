// SPDX-License-Identifier: Apache-2.0
#include "shape/lateness.h"

#include <gtest/gtest.h>

#include <vector>

#include "shape/testing/simulate.h"

namespace stallscope::shape {
namespace {

using testing::ms;

/// `count` RTTs of 1 ms, give or take 20 us.
std::vector<std::int64_t> on_time(int count) {
  std::vector<std::int64_t> rtts;
  for (int index = 0; index < count; ++index) {
    rtts.push_back(ms + (index * 37 % 41 - 20) * base::ns_per_us);
  }
  return rtts;
}

TEST(Baseline, is_the_median_and_its_deviation) {
  std::vector<std::int64_t> rtts = on_time(101);
  const Baseline baseline = measure_baseline(rtts);
  EXPECT_NEAR(static_cast<double>(baseline.rtt_ns), 1e6, 2e3);
  EXPECT_NEAR(static_cast<double>(baseline.noise_ns), 10e3 * 1.4826, 2e3);
  EXPECT_EQ(baseline.late_after_ns, baseline.rtt_ns + late_floor_ns);
}

TEST(Baseline, withstands_that_most_packets_are_late) {
  std::vector<std::int64_t> rtts = on_time(100);
  for (int index = 0; index < 200; ++index) {
    rtts.push_back((10 + index) * ms);
  }
  const Baseline baseline = measure_baseline(rtts);
  EXPECT_NEAR(static_cast<double>(baseline.rtt_ns), 1e6, 50e3);
  EXPECT_LT(baseline.late_after_ns, 7 * ms);
}

TEST(Baseline, of_a_noisy_path_is_not_cut_in_half) {
  std::vector<std::int64_t> rtts;
  for (int index = 0; index < 1'000; ++index) {
    rtts.push_back((index * 37 % 40) * ms);
  }
  const Baseline baseline = measure_baseline(rtts);
  EXPECT_NEAR(static_cast<double>(baseline.rtt_ns), 19.5e6, 1e6);
  EXPECT_GT(baseline.late_after_ns, 40 * ms);
  EXPECT_EQ(measure_baseline({}).late_after_ns, late_floor_ns);
}

TEST(JudgeAnswer, tells_the_senders_delay_from_the_paths) {
  const Baseline baseline{ms, 0, 6 * ms};
  EXPECT_EQ(judge_answer(baseline, 0, 0, 5 * ms), Fate::on_time);
  EXPECT_EQ(judge_answer(baseline, 0, 0, 50 * ms), Fate::late);
  EXPECT_EQ(judge_answer(baseline, 0, 30 * ms, 31 * ms), Fate::own_late);
  // Sent late and held as well: the reply took too long by itself.
  EXPECT_EQ(judge_answer(baseline, 0, 30 * ms, 60 * ms), Fate::late);
}

}  // namespace
}  // namespace stallscope::shape
