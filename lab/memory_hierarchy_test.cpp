// SPDX-License-Identifier: Apache-2.0
#include "lab/memory_hierarchy.h"

#include <gtest/gtest.h>

#include "host/mounts.h"

namespace stallscope::lab {
namespace {

constexpr const char* v1_text =
    "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
    "25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw,size=24684084k\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:12 master:3 - cgroup cgroup rw,memory\n";
constexpr const char* v2_text = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST(MemoryHierarchy, V1IsFoundByItsControllerNotByItsPath) {
  const base::Result<MemoryHierarchy> found =
      choose_memory_hierarchy(host::parse_mountinfo("32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,cpu\n"
                                                    "35 31 0:32 / /elsewhere/mem rw - cgroup cgroup rw,memory\n"));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->version, CgroupVersion::v1);
  EXPECT_EQ(found->reader_cgroup(), "/elsewhere/mem/stallscope-lab/reader");
}

TEST(MemoryHierarchy, V2WhereNoV1HasTheController) {
  const base::Result<MemoryHierarchy> found = choose_memory_hierarchy(host::parse_mountinfo(v2_text));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->version, CgroupVersion::v2);
  EXPECT_EQ(found->mount_path, "/sys/fs/cgroup");
}

TEST(MemoryHierarchy, HybridMachinesKeepTheControllerInV1) {
  const base::Result<MemoryHierarchy> found = choose_memory_hierarchy(
      host::parse_mountinfo(std::string("41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n") + v1_text));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->version, CgroupVersion::v1);
  EXPECT_EQ(found->mount_path, "/sys/fs/cgroup/memory");
}

TEST(MemoryHierarchy, TheWholeHierarchyIsPreferredToABindMountOfAPart) {
  const base::Result<MemoryHierarchy> found = choose_memory_hierarchy(
      host::parse_mountinfo(std::string("90 31 0:32 /docker/1 /var/part rw - cgroup cgroup rw,memory\n") + v1_text));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->mount_path, "/sys/fs/cgroup/memory");
}

TEST(MemoryHierarchy, NoneIsAnErrorThatSaysWhatToMount) {
  const base::Result<MemoryHierarchy> found =
      choose_memory_hierarchy(host::parse_mountinfo("27 1 254:0 / / rw - ext4 /dev/vda rw\n"));
  ASSERT_FALSE(found);
  EXPECT_NE(found.error().message().find("mount -t cgroup2"), std::string::npos);
}

TEST(MemoryCgroupCount, IsReadFromTheKernelsOwnFiles) {
  const base::Result<std::int64_t> v1 =
      parse_v1_count("#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t7\t1\nmemory\t4\t50014\t1\n");
  ASSERT_TRUE(v1);
  EXPECT_EQ(*v1, 50'014);
  const base::Result<std::int64_t> v2 = parse_v2_count("nr_descendants 12\nnr_subsys_memory 13\nnr_dying_descendants 500\n");
  ASSERT_TRUE(v2);
  EXPECT_EQ(*v2, 513);
  EXPECT_FALSE(parse_v1_count("cpu\t1\t7\t1\n"));
  EXPECT_FALSE(parse_v2_count("nr_descendants 12\n"));
}

}  // namespace
}  // namespace stallscope::lab
