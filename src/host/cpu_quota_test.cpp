// SPDX-License-Identifier: Apache-2.0
#include "host/cpu_quota.h"

#include <gtest/gtest.h>

#include "host/fake_tree.h"

namespace stallscope::host {
namespace {

const CgroupHierarchy v1{1, "/cg/cpu", "", true, "/"};
const CgroupHierarchy v2{2, "/cg", "", true, "/"};

TEST(CpuQuota, IsReadOfBothVersions) {
  FakeTree tree;
  tree.add("/cg/cpu/web/cpu.cfs_quota_us", "20000\n").add("/cg/cpu/web/cpu.cfs_period_us", "120000\n");
  tree.add("/cg/cpu/free/cpu.cfs_quota_us", "-1\n").add("/cg/cpu/free/cpu.cfs_period_us", "100000\n");
  tree.add("/cg/web/cpu.max", "20000 120000\n").add("/cg/free/cpu.max", "max 100000\n");
  for (const CgroupHierarchy& hierarchy : {v1, v2}) {
    EXPECT_EQ(read_cpu_quota(tree.files(), hierarchy, "/web"), (CpuQuota{20'000'000, 120'000'000}));
    EXPECT_FALSE(read_cpu_quota(tree.files(), hierarchy, "/free"));
    EXPECT_FALSE(read_cpu_quota(tree.files(), hierarchy, "/"));
  }
}

TEST(CpuQuota, OfNonsenseIsNone) {
  for (const char* text : {"", "max", "1 2 3", "-5 100", "0 100", "5 0", "9223372036854775807 100000", "5x 100"}) {
    EXPECT_FALSE(parse_cpu_max(text)) << text;
  }
}

TEST(ThrottleCounts, AreInNanosecondsOnBothVersions) {
  const ThrottleCounts expected{5, 3, 1'000'000};
  EXPECT_EQ(*parse_cpu_stat("nr_periods 5\nnr_throttled 3\nthrottled_time 1000000\nnr_bursts 0\n"), expected);
  EXPECT_EQ(*parse_cpu_stat("usage_usec 7\nnr_periods 5\nnr_throttled 3\nthrottled_usec 1000\n"), expected);
}

TEST(ThrottleCounts, ThatAreMissingAreNotZero) {
  // A cgroup of v2 without the controller.
  EXPECT_FALSE(parse_cpu_stat("usage_usec 7\nuser_usec 3\nsystem_usec 4\n"));
  EXPECT_FALSE(parse_cpu_stat("nr_periods 5\nnr_throttled -3\nthrottled_usec 1\n"));
  EXPECT_FALSE(parse_cpu_stat("nr_periods 5\nnr_throttled 3\nthrottled_usec 9223372036854775807\n"));
  EXPECT_FALSE(parse_cpu_stat(""));
}

TEST(CgroupOfProcess, IsThatOfTheController) {
  FakeTree tree;
  tree.add("/proc/7/cgroup", "12:memory:/m\n4:cpu,cpuacct:/a:b/c\n0::/unified\n");
  tree.add("/proc/8/cgroup", "0::/../../elsewhere\n");
  EXPECT_EQ(cgroup_of_process(tree.files(), v1, "cpu", 7), "/a:b/c");
  EXPECT_EQ(cgroup_of_process(tree.files(), v2, "cpu", 7), "/unified");
  EXPECT_FALSE(cgroup_of_process(tree.files(), v2, "cpu", 8));
  EXPECT_FALSE(cgroup_of_process(tree.files(), v1, "pids", 7));
  EXPECT_FALSE(cgroup_of_process(tree.files(), v1, "cpu", 9));
}

TEST(CgroupDirectory, IsBelowTheMountThatShowsIt) {
  EXPECT_EQ(cgroup_directory(v1, "/web"), "/cg/cpu/web");
  EXPECT_EQ(cgroup_directory(v1, "/"), "/cg/cpu");
  const CgroupHierarchy part{1, "/cg/cpu", "", false, "/pod"};
  EXPECT_EQ(cgroup_directory(part, "/pod/web"), "/cg/cpu/web");
  EXPECT_EQ(cgroup_directory(part, "/pod"), "/cg/cpu");
  EXPECT_FALSE(cgroup_directory(part, "/podium"));
  EXPECT_FALSE(cgroup_directory(part, "/"));
}

}  // namespace
}  // namespace stallscope::host
