// SPDX-License-Identifier: Apache-2.0
#include "lab/pins.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "host/mounts.h"

namespace stallscope::lab {
namespace {

constexpr const char* pin_mounts =
    "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
    "25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw,size=24684084k\n";

TEST(PinPlace, OfAFileInMemoryIsOnATmpfsThatIsNotCoveredByAnotherMount) {
  const base::Result<PinPlace> shm = choose_pin_place(PinKind::tmpfs, host::parse_mountinfo(pin_mounts));
  ASSERT_TRUE(shm);
  EXPECT_EQ(shm->path, "/dev/shm/stallscope-lab-pins");
  const base::Result<PinPlace> run = choose_pin_place(
      PinKind::swap,
      host::parse_mountinfo(std::string(pin_mounts) +
                            "50 25 254:1 / /dev/shm rw - ext4 /dev/vdb rw\n51 27 0:40 / /run rw - tmpfs tmpfs rw\n"));
  ASSERT_TRUE(run);
  EXPECT_EQ(run->path, "/run/stallscope-lab-pins");
  EXPECT_FALSE(choose_pin_place(PinKind::tmpfs, host::parse_mountinfo("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")));
}

TEST(PinPlace, OfPageCacheAndNamesIsOnADisk) {
  const base::Result<PinPlace> root = choose_pin_place(PinKind::page_cache, host::parse_mountinfo(pin_mounts));
  ASSERT_TRUE(root);
  EXPECT_EQ(root->path, "/var/tmp/stallscope-lab-pins");
  // The nearest mount above decides.
  const std::string covered =
      std::string(pin_mounts) + "60 27 0:50 / /var rw - tmpfs tmpfs rw\n61 60 254:2 / /var/lib rw - xfs /dev/vdc rw\n";
  const base::Result<PinPlace> lib = choose_pin_place(PinKind::dentries, host::parse_mountinfo(covered));
  ASSERT_TRUE(lib);
  EXPECT_EQ(lib->path, "/var/lib/stallscope-lab-names");
  const base::Result<PinPlace> none =
      choose_pin_place(PinKind::page_cache, host::parse_mountinfo("1 0 0:2 / / rw - rootfs none rw\n"));
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message(), testing::HasSubstr("--pin tmpfs"));
}

TEST(PinKind, IsKnownByItsNameOnly) {
  EXPECT_EQ(parse_pin_kind("page-cache"), PinKind::page_cache);
  EXPECT_EQ(parse_pin_kind("swap"), PinKind::swap);
  EXPECT_FALSE(parse_pin_kind("ext4"));
  EXPECT_FALSE(parse_pin_kind(""));
}

class PinsOn : public testing::TestWithParam<PinKind> {
 protected:
  void SetUp() override {
    const bool in_memory = GetParam() == PinKind::tmpfs;
    std::string pattern = in_memory ? "/dev/shm/stallscope-pins-XXXXXX" : "/var/tmp/stallscope-pins-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    place_ = {GetParam(), directory_ + "/pins"};
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
  PinPlace place_;
};
INSTANTIATE_TEST_SUITE_P(, PinsOn, testing::Values(PinKind::tmpfs, PinKind::page_cache, PinKind::dentries));

TEST_P(PinsOn, AreCountedLetGoFromTheEndAndRemoved) {
  const base::Result<Pins> pins = Pins::create(place_);
  ASSERT_TRUE(pins) << pins.error().message();
  for (std::int64_t i = 0; i < 10; ++i) {
    const base::Status charged = pins->charge(i);
    ASSERT_TRUE(charged) << charged.error().message();
  }
  ASSERT_TRUE(pins->settle());
  const bool counted = GetParam() != PinKind::dentries;
  EXPECT_EQ(*pins->count(), counted ? 10 : 0);
  if (counted) {
    EXPECT_EQ(**pins->release(4), 4);
    EXPECT_EQ(*pins->count(), 6);
    EXPECT_EQ(**pins->release(100), 6);
  }
  const base::Result<std::optional<std::int64_t>> none = pins->release(4);
  ASSERT_TRUE(none);
  EXPECT_FALSE(*none);
  EXPECT_TRUE(pins->remove());
  EXPECT_FALSE(std::filesystem::exists(place_.path));
}

TEST_P(PinsOn, OfAnEarlierLabAreOpenedAndOfOthersRefused) {
  const base::Result<std::optional<Pins>> missing = Pins::open(place_);
  ASSERT_TRUE(missing);
  EXPECT_FALSE(*missing);
  { ASSERT_TRUE(Pins::create(place_)); }
  EXPECT_FALSE(Pins::create(place_)) << "made over what was there";
  const base::Result<std::optional<Pins>> left = Pins::open(place_);
  ASSERT_TRUE(left) << left.error().message();
  EXPECT_TRUE(*left);
  const std::string link = directory_ + "/link";
  std::filesystem::create_symlink(place_.path, link);
  EXPECT_FALSE(Pins::open({GetParam(), link})) << "followed a link";
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(place_.path.c_str(), 65'534, 65'534), 0);
    const base::Result<std::optional<Pins>> foreign = Pins::open(place_);
    ASSERT_FALSE(foreign);
    EXPECT_THAT(foreign.error().message(), testing::HasSubstr("not the lab's own"));
  }
}

}  // namespace
}  // namespace stallscope::lab
