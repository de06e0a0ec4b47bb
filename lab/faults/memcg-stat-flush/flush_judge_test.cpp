// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/memcg-stat-flush/flush_judge.h"

#include <gtest/gtest.h>

#include "base/units.h"
#include "lab/faults/memcg-stat-flush/flush_worker.h"

namespace stallscope::lab::memcg_stat_flush {
namespace {

TEST(FlushJudge, AReadMuchShorterThanTheTypicalOneFoundTheWorkDone) {
  constexpr std::int64_t ms = base::ns_per_ms;
  FlushJudge judge({100 * ms, 30 * ms, 102 * ms});
  EXPECT_EQ(judge.judge(95 * ms, std::nullopt), FlushedBy::reader);
  EXPECT_EQ(judge.judge(80 * ms, std::nullopt), FlushedBy::kernel_worker);
  EXPECT_EQ(judge.judge(1 * ms, std::nullopt), FlushedBy::kernel_worker);
  EXPECT_EQ(judge.judge(150 * ms, std::nullopt), FlushedBy::reader);
}

TEST(FlushJudge, ReadsOfTheWorkerDoNotMoveWhatIsTypical) {
  constexpr std::int64_t ms = base::ns_per_ms;
  FlushJudge judge({100 * ms});
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(judge.judge(20 * ms, std::nullopt), FlushedBy::kernel_worker);
  }
  EXPECT_EQ(judge.judge(99 * ms, std::nullopt), FlushedBy::reader);
}

TEST(FlushJudge, SmallDifferencesAreNoise) {
  FlushJudge judge({500 * base::ns_per_us});
  EXPECT_EQ(judge.judge(300 * base::ns_per_us, std::nullopt), FlushedBy::reader);
}

TEST(FlushJudge, WhatWasObservedDecidesWhateverTheLength) {
  constexpr std::int64_t ms = base::ns_per_ms;
  FlushJudge judge({100 * ms});
  EXPECT_EQ(judge.judge(100 * ms, true), FlushedBy::kernel_worker);
  EXPECT_EQ(judge.judge(60 * ms, false), FlushedBy::reader);
}

TEST(FindSymbol, NeedsTheWholeNameAndAnAddressThatIsShown) {
  constexpr const char* shown = "ffffffff81000000 T flush\nffffffff81000010 t flush_work\tmod\n";
  EXPECT_EQ(find_symbol(shown, "flush_work"), 0xffffffff81000010U);
  EXPECT_EQ(find_symbol(shown, "flush_wor"), std::nullopt);
  EXPECT_EQ(find_symbol("0000000000000000 t flush_work\n", "flush_work"), std::nullopt);
}

}  // namespace
}  // namespace stallscope::lab::memcg_stat_flush
