// SPDX-License-Identifier: Apache-2.0
#include "census/census.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "census/fake_root.h"
#include "census/gap_matcher.h"

namespace stallscope::census {
namespace {

CensusOptions without_walk(const FakeRoot& root) {
  CensusOptions options;
  options.walk = false;
  options.root = root.path();
  return options;
}

TEST(TakeCensus, DerivesTheDyingOnCgroupV1AndSaysSo) {
  const FakeRoot root;
  root.set_cgroup_namespace("cgroup:[4026531835]");
  root.add_file("/proc/self/mountinfo", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  root.add_file("/proc/cgroups", "memory\t4\t1003\t1\n");
  root.add_file("/proc/meminfo", "MemTotal: 4 kB\n");
  root.add_file("/sys/fs/cgroup/memory/memory.stat", "cache 0\n");
  root.add_file("/sys/fs/cgroup/memory/a/memory.stat", "cache 0\n");

  const CensusResult result = take_census(without_walk(root));
  EXPECT_EQ(result.memcgs.cgroup_version, 1);
  EXPECT_EQ(result.memcgs.kernel_total, 1003);
  EXPECT_EQ(result.memcgs.visible, 2);
  EXPECT_EQ(result.memcgs.kernel_dying, 1001);
  EXPECT_EQ(result.memcgs.walked_dying, std::nullopt);
  EXPECT_THAT(result.gaps, gap_about("kernel's count of dying memory cgroups"));
  EXPECT_EQ(result.stat_reads.size(), 2U);
  EXPECT_EQ(result.memory.size(), 1U);
}

TEST(TakeCensus, ReadsNoStatisticsWhenToldNotTo) {
  const FakeRoot root;
  root.add_file("/proc/self/mountinfo", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  root.add_file("/sys/fs/cgroup/memory/memory.stat", "cache 0\n");
  CensusOptions options = without_walk(root);
  EXPECT_EQ(take_census(options).stat_reads.size(), 1U);
  options.read_cost = false;
  EXPECT_TRUE(take_census(options).stat_reads.empty());
}

TEST(TakeCensus, AMachineWithNothingToReadIsAllGaps) {
  const FakeRoot root;
  const CensusResult result = take_census(without_walk(root));
  EXPECT_EQ(result.memcgs.kernel_total, std::nullopt);
  EXPECT_EQ(result.memcgs.kernel_dying, std::nullopt);
  EXPECT_EQ(result.memcgs.visible, std::nullopt);
  for (const std::string_view what : {"mounts", "memory cgroup hierarchy", "memory summary", "slab caches"}) {
    EXPECT_THAT(result.gaps, gap_about(what));
  }
  for (const evidence::GapRecord& gap : result.gaps) {
    EXPECT_FALSE(gap.reason.empty()) << gap.what;
    EXPECT_FALSE(gap.consequence.empty()) << gap.what;
  }
}

}  // namespace
}  // namespace stallscope::census
