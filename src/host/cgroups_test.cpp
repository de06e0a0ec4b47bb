// SPDX-License-Identifier: Apache-2.0
#include "host/cgroups.h"

#include <gtest/gtest.h>

#include "host/fake_tree.h"

namespace stallscope::host {
namespace {

TEST(FindMemoryCgroups, TakesVersion1WhereBothAreMounted) {
  FakeTree tree;
  tree.add("/proc/self/mounts",
           "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
           "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
           "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
           "cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n")
      .add("/sys/fs/cgroup/unified/cgroup.controllers", "\n");
  const MemoryCgroups found = find_memory_cgroups(tree.files());
  EXPECT_EQ(found.version, 1);
  EXPECT_EQ(found.mount_point, "/sys/fs/cgroup/memory");
}

TEST(FindMemoryCgroups, TakesVersion2OnlyWithTheController) {
  FakeTree tree;
  tree.add("/proc/self/mounts", "cgroup2 /sys/fs/cg\\040roup cgroup2 rw 0 0\n")
      .add("/sys/fs/cg roup/cgroup.controllers", "cpuset cpu io memory pids\n");
  const MemoryCgroups found = find_memory_cgroups(tree.files());
  EXPECT_EQ(found.version, 2);
  EXPECT_EQ(found.mount_point, "/sys/fs/cg roup");
  tree.add("/sys/fs/cg roup/cgroup.controllers", "cpuset memory_pressure\n");
  EXPECT_EQ(find_memory_cgroups(tree.files()).version, 0);
}

TEST(FindMemoryCgroups, SaysWhyThereIsNone) {
  FakeTree tree;
  EXPECT_NE(find_memory_cgroups(tree.files()).reason.find("mounts"), std::string::npos);
  tree.add("/proc/self/mounts", "proc\n\\\n\\04 \\9 cgroup cpu\n");
  const MemoryCgroups none = find_memory_cgroups(tree.files());
  EXPECT_EQ(none.version, 0);
  EXPECT_NE(none.reason, "");
}

TEST(UnescapeMountField, UndoesOctalEscapesOnly) {
  EXPECT_EQ(unescape_mount_field("/a\\040b\\134c"), "/a b\\c");
  EXPECT_EQ(unescape_mount_field("/a\\04"), "/a\\04");
  EXPECT_EQ(unescape_mount_field("\\089"), "\\089");
}

}  // namespace
}  // namespace stallscope::host
