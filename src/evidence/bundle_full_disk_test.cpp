// SPDX-License-Identifier: Apache-2.0
// A disk that is really full; mounting one takes root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "evidence/test_evidence.h"

namespace stallscope::evidence {
namespace {

using testing::HasSubstr;

/// A file system of a given size, unmounted at the end.
class SmallDisk {
 public:
  explicit SmallDisk(const char* size_option) {
    if (::mount("tmpfs", directory_.path().c_str(), "tmpfs", 0, size_option) != 0) {
      throw std::runtime_error(std::string("mount tmpfs: ") + std::strerror(errno));
    }
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  SmallDisk(SmallDisk&&) = delete;
  SmallDisk& operator=(SmallDisk&&) = delete;
  ~SmallDisk() { ::umount2(directory_.path().c_str(), MNT_DETACH); }

  [[nodiscard]] std::string path() const { return directory_.path(); }

 private:
  TemporaryDirectory directory_ = test_directory();
};

TEST(FullDisk, WhatWasCommittedStaysReadable) {
  const SmallDisk disk("size=1m");
  const std::string path = disk.path() + "/run.stall";
  BundleWriter writer = value_of(BundleWriter::create(path, {}));
  std::int64_t committed = 0;
  base::Status status = base::ok();
  std::int64_t sequence = 0;
  while (status) {
    for (int i = 0; status && i < 1000; ++i) {
      status = writer.add(ProbeRecord{.sequence = sequence++});
    }
    status = status ? writer.commit() : status;
    committed = status ? sequence : committed;
    ASSERT_LT(sequence, 1'000'000) << "the disk never filled up";
  }
  EXPECT_THAT(status.error().message(), HasSubstr("cannot write bundle " + path + ": no space left on the device"));
  EXPECT_THAT(status.error().message(), HasSubstr("What was committed before is kept."));
  EXPECT_GT(committed, 0);
  EXPECT_EQ(writer.commit().error().message(), status.error().message());
  EXPECT_FALSE(std::filesystem::exists(journal_path(path)));
  EXPECT_EQ(static_cast<std::int64_t>(value_of(read_bundle(path)).probes.size()), committed);
}

TEST(FullDisk, NothingIsLeftOfABundleThatDidNotFit) {
  const SmallDisk disk("size=32k");
  const base::Result<BundleWriter> writer = BundleWriter::create(disk.path() + "/run.stall", {});
  ASSERT_FALSE(writer);
  EXPECT_THAT(writer.error().message(), HasSubstr("run.stall: no space left on the device\n  Make room"));
  EXPECT_TRUE(std::filesystem::is_empty(disk.path()));
}

}  // namespace
}  // namespace stallscope::evidence
