// SPDX-License-Identifier: Apache-2.0
#include "census/memcg_counts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "census/fake_root.h"
#include "census/gap_matcher.h"

namespace stallscope::census {
namespace {

constexpr std::string_view boot_namespace = "cgroup:[4026531835]";
constexpr std::string_view v1_mounts = R"(31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
)";
constexpr std::string_view v2_mounts = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr std::string_view hybrid_mounts = R"(35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
)";
// Linux 5.15, systemd's hybrid layout.
constexpr std::string_view v1_proc_cgroups =
    "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t3\t1\t1\nmemory\t4\t50014\t1\npids\t8\t7\t1\n";

TEST(MemoryCgroupTotal, ReadsTheRowOfTheEnabledController) {
  EXPECT_EQ(memory_cgroup_total(v1_proc_cgroups), 50'014);
}

TEST(MemoryCgroupTotal, AMissingOrDisabledRowIsUnknownNotZero) {
  EXPECT_EQ(memory_cgroup_total(""), std::nullopt);
  // Linux 6.12 without CONFIG_MEMCG_V1.
  EXPECT_EQ(memory_cgroup_total("#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t61\t1\n"), std::nullopt);
  // cgroup_disable=memory
  EXPECT_EQ(memory_cgroup_total("memory\t0\t1\t0\n"), std::nullopt);
  EXPECT_EQ(memory_cgroup_total("memory\t0\tx\t1\n"), std::nullopt);
}

TEST(CountMemcgs, V1CountsDirectoriesAndLeavesDyingUnknown) {
  const FakeRoot root;
  root.set_cgroup_namespace(boot_namespace);
  root.add_file("/proc/cgroups", v1_proc_cgroups);
  root.add_directory("/sys/fs/cgroup/memory/kubepods/pod1");
  root.add_directory("/sys/fs/cgroup/memory/kubepods/pod2");
  root.add_directory("/sys/fs/cgroup/memory/system");
  root.add_file("/sys/fs/cgroup/memory/kubepods/memory.stat", "cache 0\n");

  const MemcgCounts counts = count_memcgs(root.path(), host::parse_mountinfo(v1_mounts));
  EXPECT_EQ(counts.hierarchy.version, 1);
  EXPECT_EQ(counts.hierarchy.mount_point, "/sys/fs/cgroup/memory");
  EXPECT_EQ(counts.total, 50'014);
  EXPECT_EQ(counts.visible, 5);
  EXPECT_EQ(counts.dying, std::nullopt);
  EXPECT_TRUE(counts.gaps.empty());
  ASSERT_FALSE(counts.cgroups.empty());
  EXPECT_EQ(counts.cgroups.front().path, "/sys/fs/cgroup/memory");
  EXPECT_EQ(counts.cgroups.front().descendant_count, 4);
  EXPECT_THAT(counts.cgroups,
              testing::Contains(testing::AllOf(testing::Field(&VisibleCgroup::path, "/sys/fs/cgroup/memory/kubepods"),
                                               testing::Field(&VisibleCgroup::descendant_count, 2))));
}

TEST(CountMemcgs, HybridFindsMemoryWhereItIs) {
  const FakeRoot root;
  root.set_cgroup_namespace(boot_namespace);
  root.add_file("/sys/fs/cgroup/unified/cgroup.controllers", "hugetlb\n");
  root.add_directory("/sys/fs/cgroup/memory");
  EXPECT_EQ(count_memcgs(root.path(), host::parse_mountinfo(hybrid_mounts)).hierarchy.version, 1);

  const FakeRoot other;
  other.set_cgroup_namespace(boot_namespace);
  other.add_file("/sys/fs/cgroup/unified/cgroup.controllers", "cpu memory pids\n");
  const MemcgCounts counts =
      count_memcgs(other.path(), host::parse_mountinfo("34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
                                                       "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"));
  EXPECT_EQ(counts.hierarchy.version, 2);
  EXPECT_EQ(counts.hierarchy.mount_point, "/sys/fs/cgroup/unified");
}

TEST(CountMemcgs, V2TakesTheMemoryControllersOwnCountsWhereThereAreSome) {
  const FakeRoot root;
  root.set_cgroup_namespace(boot_namespace);
  root.add_file("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
  // Linux 6.12: /proc/cgroups hides the row, cgroup.stat counts by controller.
  root.add_file("/proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
  root.add_file("/sys/fs/cgroup/cgroup.stat",
                "nr_descendants 60\nnr_subsys_cpu 12\nnr_subsys_memory 45\nnr_dying_descendants 700\nnr_dying_subsys_memory 650\n");
  const MemcgCounts counts = count_memcgs(root.path(), host::parse_mountinfo(v2_mounts));
  EXPECT_EQ(counts.total, 695);
  EXPECT_EQ(counts.dying, 650);
  EXPECT_TRUE(counts.gaps.empty());
}

TEST(CountMemcgs, V2BeforeThatCountsCgroups) {
  const FakeRoot root;
  root.set_cgroup_namespace(boot_namespace);
  root.add_file("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
  root.add_file("/sys/fs/cgroup/cgroup.stat", "nr_descendants 60\nnr_dying_descendants 700\n");
  const MemcgCounts counts = count_memcgs(root.path(), host::parse_mountinfo(v2_mounts));
  EXPECT_EQ(counts.total, 761);
  EXPECT_EQ(counts.dying, 700);
}

TEST(CountMemcgs, APartOfTheHierarchyIsNotCountedAsTheWhole) {
  const FakeRoot container;
  container.set_cgroup_namespace("cgroup:[4026532999]");
  container.add_file("/proc/cgroups", v1_proc_cgroups);
  container.add_directory("/sys/fs/cgroup/memory/child");
  const MemcgCounts counts = count_memcgs(container.path(), host::parse_mountinfo(v1_mounts));
  EXPECT_EQ(counts.visible, std::nullopt);
  EXPECT_EQ(counts.total, 50'014);
  EXPECT_THAT(counts.gaps, gap_about("whole cgroup hierarchy"));

  const FakeRoot bind;
  bind.set_cgroup_namespace(boot_namespace);
  bind.add_directory("/sys/fs/cgroup/memory/child");
  const MemcgCounts part = count_memcgs(
      bind.path(), host::parse_mountinfo("35 31 0:32 /docker/7f /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"));
  EXPECT_EQ(part.visible, std::nullopt);
}

TEST(CountMemcgs, NamesWhatIsMissing) {
  const FakeRoot root;
  const MemcgCounts counts = count_memcgs(root.path(), {});
  EXPECT_EQ(counts.hierarchy.version, 0);
  EXPECT_EQ(counts.total, std::nullopt);
  EXPECT_EQ(counts.visible, std::nullopt);
  EXPECT_THAT(counts.gaps, gap_about("memory cgroup hierarchy"));
  EXPECT_THAT(counts.gaps, gap_about("kernel's count of memory cgroups"));
}

}  // namespace
}  // namespace stallscope::census
