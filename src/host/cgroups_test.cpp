// SPDX-License-Identifier: Apache-2.0
#include "host/cgroups.h"

#include <gtest/gtest.h>

#include "host/fake_tree.h"

namespace stallscope::host {
namespace {

TEST(FindMemoryCgroups, TakesVersion1WhereBothAreMounted) {
  FakeTree tree;
  tree.add("/proc/self/mountinfo",
           "31 27 0:30 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
           "32 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
           "33 31 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
           "34 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,relatime,memory\n")
      .add("/sys/fs/cgroup/unified/cgroup.controllers", "\n");
  const CgroupHierarchy found = find_memory_cgroups(tree.files());
  EXPECT_EQ(found.version, 1);
  EXPECT_EQ(found.mount_point, "/sys/fs/cgroup/memory");
}

TEST(FindMemoryCgroups, TakesVersion2OnlyWithTheController) {
  FakeTree tree;
  tree.add("/proc/self/mountinfo", "32 31 0:31 / /sys/fs/cg\\040roup rw - cgroup2 cgroup2 rw\n")
      .add("/sys/fs/cg roup/cgroup.controllers", "cpuset cpu io memory pids\n");
  const CgroupHierarchy found = find_memory_cgroups(tree.files());
  EXPECT_EQ(found.version, 2);
  EXPECT_EQ(found.mount_point, "/sys/fs/cg roup");
  tree.add("/sys/fs/cg roup/cgroup.controllers", "cpuset memory_pressure\n");
  EXPECT_EQ(find_memory_cgroups(tree.files()).version, 0);
}

TEST(FindMemoryCgroups, SaysWhyThereIsNone) {
  FakeTree tree;
  EXPECT_NE(find_memory_cgroups(tree.files()).reason.find("mountinfo"), std::string::npos);
  tree.add("/proc/self/mountinfo", "proc\n\\\n\\04 \\9 cgroup cpu\n");
  const CgroupHierarchy none = find_memory_cgroups(tree.files());
  EXPECT_EQ(none.version, 0);
  EXPECT_NE(none.reason, "");
}

TEST(FindMemoryCgroups, PrefersTheWholeHierarchyToABindMountOfAPart) {
  FakeTree tree;
  tree.add("/proc/self/mountinfo",
           "32 31 0:33 /pod /pod/cgroup rw - cgroup cgroup rw,memory\n"
           "34 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  const CgroupHierarchy found = find_memory_cgroups(tree.files());
  EXPECT_EQ(found.mount_point, "/sys/fs/cgroup/memory");
  EXPECT_TRUE(found.whole);
}

}  // namespace
}  // namespace stallscope::host
