// SPDX-License-Identifier: Apache-2.0
#include "census/memory_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "census/fake_root.h"

namespace stallscope::census {
namespace {

constexpr std::string_view meminfo =
    "MemTotal:       24684084 kB\nMemFree:        20000000 kB\nHugePages_Total:       3\nHugepagesize:       2048 kB\n";
constexpr std::string_view slabinfo = R"(slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
dentry             36900  37170    192   21    1 : tunables    0    0    0 : slabdata   1770   1770      0
mem_cgroup         50040  50064   2304   14    8 : tunables    0    0    0 : slabdata   3576   3576      0
broken             50040  x       2304   14    8 : tunables    0    0    0 : slabdata   3576   3576      0
kmalloc-8           1024   1024      8  512    1 : tunables    0    0    0 : slabdata      2      2      0
)";

TEST(ParseMeminfo, KeepsRowsOfBytesAndLeavesOutCounts) {
  const std::vector<evidence::MemoryRecord> rows = parse_meminfo(meminfo);
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0].name, "MemTotal");
  EXPECT_EQ(rows[0].bytes, 24'684'084LL * 1024);
  EXPECT_EQ(rows[2].name, "Hugepagesize");
}

TEST(ParseMeminfo, LeavesOutAnAddressRangeLargerThanABundleKeeps) {
  const std::vector<evidence::MemoryRecord> rows =
      parse_meminfo("VmallocTotal:   13743895347199 kB\nVmallocUsed:        5388 kB\n");
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].name, "VmallocUsed");
}

TEST(ParseSlabinfo, OrdersByMemoryOfWholeSlabs) {
  const std::vector<evidence::SlabRecord> slabs = parse_slabinfo(slabinfo, 4096, 2);
  ASSERT_EQ(slabs.size(), 2U);
  EXPECT_EQ(slabs[0].cache, "mem_cgroup");
  EXPECT_EQ(slabs[0].active_objects, 50'040);
  EXPECT_EQ(slabs[0].total_objects, 50'064);
  EXPECT_EQ(slabs[0].object_bytes, 2'304);
  EXPECT_EQ(slabs[0].total_bytes, 3'576LL * 8 * 4'096);
  EXPECT_EQ(slabs[1].cache, "dentry");
}

TEST(SlabinfoIsHarmless, FromLinux610) {
  EXPECT_FALSE(slabinfo_is_harmless(*parse_kernel_release("6.9.12-arch1")));
  EXPECT_TRUE(slabinfo_is_harmless(*parse_kernel_release("6.10.0\n")));
  EXPECT_TRUE(slabinfo_is_harmless(*parse_kernel_release("7.0")));
  EXPECT_FALSE(slabinfo_is_harmless(*parse_kernel_release("5.15.0-91-generic")));
  EXPECT_FALSE(parse_kernel_release("linux"));
  EXPECT_FALSE(parse_kernel_release("6"));
}

TEST(SummarizeMemory, LeavesSlabinfoAloneWhereReadingItHurtsUnlessAsked) {
  const FakeRoot root;
  root.add_file("/proc/meminfo", meminfo);
  root.add_file("/proc/slabinfo", slabinfo);
  root.add_file("/proc/sys/kernel/osrelease", "6.1.0-13-amd64\n");
  const MemorySummary careful = summarize_memory(root.path(), false);
  EXPECT_EQ(careful.memory.size(), 3U);
  EXPECT_TRUE(careful.slabs.empty());
  ASSERT_EQ(careful.gaps.size(), 1U);
  EXPECT_EQ(careful.gaps[0].what, "slab caches");
  EXPECT_EQ(summarize_memory(root.path(), true).slabs.size(), 3U);

  root.add_file("/proc/sys/kernel/osrelease", "6.18.44\n");
  const MemorySummary harmless = summarize_memory(root.path(), false);
  EXPECT_EQ(harmless.slabs.size(), 3U);
  EXPECT_TRUE(harmless.gaps.empty());
}

TEST(SummarizeMemory, NamesWhatIsMissing) {
  const FakeRoot root;
  root.add_file("/proc/sys/kernel/osrelease", "6.18.44\n");
  const MemorySummary summary = summarize_memory(root.path(), false);
  EXPECT_THAT(summary.gaps, testing::ElementsAre(testing::Field(&evidence::GapRecord::what, "memory summary"),
                                                 testing::Field(&evidence::GapRecord::what, "slab caches")));
}

}  // namespace
}  // namespace stallscope::census
