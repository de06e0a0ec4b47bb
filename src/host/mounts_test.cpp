// SPDX-License-Identifier: Apache-2.0
#include "host/mounts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stallscope::host {
namespace {

constexpr std::uint32_t disk = 254U << 20U;

// As a container host shows it: the root after what is mounted on it, one tmpfs on top of another, optional fields.
constexpr std::string_view container_host = R"(24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw
25 24 0:23 / /dev/shm rw,relatime shared:7 - tmpfs tmpfs rw,size=24684084k
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 25 0:27 / /dev/shm rw,relatime - tmpfs tmpfs rw
31 27 254:0 /var/lib/pods /pods rw master:1 propagate_from:2 - ext4 /dev/vda rw
32 27 0:40 / /mnt/a\040b\134c rw - tmpfs tmpfs rw
)";

TEST(ParseMountinfo, ReadsDeviceRootPlaceAndUndoesEscapes) {
  const std::vector<Mount> mounts = parse_mountinfo(container_host);
  ASSERT_EQ(mounts.size(), 6U);
  EXPECT_EQ(mounts[1].device, 23U);
  EXPECT_EQ(mounts[1].filesystem, "tmpfs");
  EXPECT_EQ(mounts[1].super_options, "rw,size=24684084k");
  EXPECT_EQ(mounts[4].device, disk);
  EXPECT_EQ(mounts[4].root, "/var/lib/pods");
  EXPECT_EQ(mounts[4].parent_id, 27);
  EXPECT_EQ(mounts[5].mount_point, "/mnt/a b\\c");
}

TEST(ParseMountinfo, LeavesOutWhatItCannotRead) {
  EXPECT_TRUE(parse_mountinfo("").empty());
  EXPECT_TRUE(parse_mountinfo("24 27 0:6 / /dev rw,relatime\n").empty());
  EXPECT_TRUE(parse_mountinfo("24 27 06 / /dev rw - tmpfs tmpfs rw\n").empty());
  EXPECT_TRUE(parse_mountinfo("x 27 0:6 / /dev rw - tmpfs tmpfs rw\n24 27 0:6 / /dev rw - tmpfs\n").empty());
}

TEST(PathThroughMounts, PutsTheMountPointInFront) {
  const std::vector<Mount> mounts = parse_mountinfo(container_host);
  EXPECT_EQ(path_through_mounts(mounts, 27, "/pins"), "/dev/shm/pins");
  EXPECT_EQ(path_through_mounts(mounts, disk, "/usr/bin/bash"), "/usr/bin/bash");
}

TEST(PathThroughMounts, PrefersTheWholeFileSystemToABindMountOfAPart) {
  const std::vector<Mount> mounts = parse_mountinfo(container_host);
  EXPECT_EQ(path_through_mounts(mounts, disk, "/var/lib/pods/7/log"), "/var/lib/pods/7/log");
}

TEST(PathThroughMounts, UsesABindMountWhereItIsAllThatIsVisible) {
  const std::vector<Mount> mounts = parse_mountinfo("31 27 254:0 /var/lib/pods /pods rw - ext4 /dev/vda rw\n");
  EXPECT_EQ(path_through_mounts(mounts, disk, "/var/lib/pods/7/log"), "/pods/7/log");
  EXPECT_EQ(path_through_mounts(mounts, disk, "/var/lib/podsx"), "/var/lib/podsx");
}

TEST(PathThroughMounts, DoesNotLeadThroughAHiddenMount) {
  const std::vector<Mount> mounts = parse_mountinfo(container_host);
  EXPECT_EQ(path_through_mounts(mounts, 23, "/pins"), "/pins");
  EXPECT_EQ(path_through_mounts(mounts, 99, "/pins"), "/pins");
}

TEST(PathThroughMounts, AMountBelowALaterOneIsHidden) {
  const std::vector<Mount> mounts = parse_mountinfo(R"(1 0 254:0 / / rw - ext4 /dev/vda rw
2 1 0:50 / /srv/data rw - tmpfs tmpfs rw
3 1 0:51 / /srv rw - tmpfs tmpfs rw
)");
  EXPECT_EQ(path_through_mounts(mounts, 50, "/file"), "/file");
  EXPECT_EQ(path_through_mounts(mounts, 51, "/file"), "/srv/file");

  const std::vector<Mount> listed_otherwise(mounts.rbegin(), mounts.rend());
  EXPECT_EQ(path_through_mounts(listed_otherwise, 50, "/file"), "/file");
  EXPECT_EQ(path_through_mounts(listed_otherwise, 51, "/file"), "/srv/file");
}

}  // namespace
}  // namespace stallscope::host
