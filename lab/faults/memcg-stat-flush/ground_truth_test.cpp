// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/memcg-stat-flush/ground_truth.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/units.h"
#include "lab/faults/memcg-stat-flush/flush_worker.h"

namespace stallscope::lab {
namespace {

const ReaderIdentity reader{4121, 1, "/sys/fs/cgroup/memory/stallscope-lab/memory.stat"};
constexpr StatRead one_read{.start_ns = 2'000, .end_ns = 102'000, .window_start_ns = 1'000, .window_end_ns = 102'000};

TEST(GroundTruth, AStallSaysWhereWhenWhoAndWhat) {
  const std::string line = stall_line(reader, one_read, FlushedBy::reader);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(line), nlohmann::json::parse(R"({"type":"stall","fault":"memcg-stat-flush","cpu":1,
    "start_ns":2000,"end_ns":102000,"length_ns":100000,"pid":4121,"comm":"lab-reader","syscall":"read",
    "file":"/sys/fs/cgroup/memory/stallscope-lab/memory.stat","flushed_by":"reader","window_start_ns":1000,"window_end_ns":102000})"));
  EXPECT_EQ(nlohmann::json::parse(stall_line(reader, one_read, FlushedBy::kernel_worker)).at("flushed_by"), "kernel-worker");
  EXPECT_EQ(nlohmann::json::parse(control_line(reader, one_read)).at("type"), "control-read");
}

TEST(GroundTruth, ReadyAndEndFrameTheReads) {
  EXPECT_EQ(nlohmann::json::parse(ready_line(reader, 500, 514, true)),
            nlohmann::json::parse(R"({"type":"ready","zombies":500,"kernel_total":514,"cpu":1,"pid":4121,"target":"10.0.1.2",
              "client_netns":"stallscope-client","flushed_by_is":"observed"})"));
  EXPECT_EQ(end_line(20), R"({"type":"end","reads":20})");
}

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
}  // namespace stallscope::lab
