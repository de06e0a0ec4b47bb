// SPDX-License-Identifier: Apache-2.0
#include "census/file_name.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

namespace stallscope::census {
namespace {

constexpr std::uint32_t shm_device = 27;

std::unique_ptr<file_name_reply> reply_with(std::string_view leaf_first) {
  auto reply = std::make_unique<file_name_reply>();
  std::memcpy(&reply->path[0], leaf_first.data(), leaf_first.size());
  reply->path_length = static_cast<std::uint32_t>(leaf_first.size());
  reply->named = 1;
  return reply;
}

const std::vector<host::Mount>& mounts() {
  static const std::vector<host::Mount> table = host::parse_mountinfo("30 25 0:27 / /dev/shm rw - tmpfs tmpfs rw\n");
  return table;
}

TEST(PinningFilePath, TurnsLeafFirstNamesIntoAPathUnderTheMount) {
  const auto reply = reply_with(std::string_view("pins\0lab\0", 9));
  EXPECT_EQ(pinning_file_path(*reply, shm_device, mounts()), "/dev/shm/lab/pins");
}

TEST(PinningFilePath, SaysThatAFileIsDeleted) {
  const auto reply = reply_with(std::string_view("pins\0", 5));
  reply->deleted = 1;
  EXPECT_EQ(pinning_file_path(*reply, shm_device, mounts()), "/dev/shm/pins (deleted)");
}

TEST(PinningFilePath, InventsNeitherPathNorDeletionForAMemfd) {
  const auto reply = reply_with(std::string_view("memfd:cache\0", 12));
  reply->detached = 1;
  reply->deleted = 1;
  EXPECT_EQ(pinning_file_path(*reply, 1, mounts()), "memfd:cache");
}

TEST(PinningFilePath, ShowsThatTheTopIsMissing) {
  const auto reply = reply_with(std::string_view("pins\0deep\0", 10));
  reply->truncated = 1;
  EXPECT_EQ(pinning_file_path(*reply, shm_device, mounts()), ".../deep/pins");
}

TEST(PinningFilePath, IsEmptyWithoutAName) {
  const auto reply = reply_with("");
  reply->named = 0;
  EXPECT_EQ(pinning_file_path(*reply, shm_device, mounts()), "");
}

}  // namespace
}  // namespace stallscope::census
