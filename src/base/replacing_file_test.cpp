// SPDX-License-Identifier: Apache-2.0
#include "base/replacing_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/files.h"

namespace stallscope::base {
namespace {

class ReplacingFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "stallscope-test-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory = name;
    path = directory / "out";
    std::ofstream(path) << "before";
  }
  void TearDown() override { std::filesystem::remove_all(directory); }
  [[nodiscard]] std::string content() const { return *read_file(path.string()); }
  [[nodiscard]] std::ptrdiff_t file_count() const {
    return std::distance(std::filesystem::directory_iterator(directory), std::filesystem::directory_iterator());
  }

  std::filesystem::path directory;
  std::filesystem::path path;
};

TEST_F(ReplacingFileTest, IsThereOnceItIsWhole) {
  Result<ReplacingFile> file = ReplacingFile::create(path.string());
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->write(std::string(1'000'000, 'x')));
  EXPECT_EQ(content(), "before");
  ASSERT_TRUE(file->commit());
  EXPECT_EQ(content(), std::string(1'000'000, 'x'));
  EXPECT_EQ(file_count(), 1);
}

TEST_F(ReplacingFileTest, LeavesNothingWithoutCommit) {
  {
    Result<ReplacingFile> file = ReplacingFile::create(path.string());
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write("half"));
    EXPECT_EQ(file_count(), 2);
  }
  EXPECT_EQ(content(), "before");
  EXPECT_EQ(file_count(), 1);
}

TEST_F(ReplacingFileTest, FollowsALinkAndSaysWhyNot) {
  std::filesystem::create_symlink(path, directory / "link");
  Result<ReplacingFile> file = ReplacingFile::create((directory / "link").string());
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->write("after"));
  ASSERT_TRUE(file->commit());
  EXPECT_TRUE(std::filesystem::is_symlink(directory / "link"));
  EXPECT_EQ(content(), "after");
  EXPECT_FALSE(ReplacingFile::create((directory / "none" / "out").string()));
}

TEST_F(ReplacingFileTest, AFullDiskLeavesWhatWasThere) {
  if (!std::filesystem::exists("/dev/full")) {
    GTEST_SKIP() << "there is no /dev/full";
  }
  Result<ReplacingFile> full = ReplacingFile::create("/dev/full");
  ASSERT_TRUE(full);
  ASSERT_TRUE(full->write("x"));
  EXPECT_FALSE(full->commit());

  // A limit on the size of files stands for a disk.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{100'000, before.rlim_max};
  {
    Result<ReplacingFile> file = ReplacingFile::create(path.string());
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write(std::string(200'000, 'x')));
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const Status committed = file->commit();
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_FALSE(committed);
  }
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(content(), "before");
  EXPECT_EQ(file_count(), 1);
}

}  // namespace
}  // namespace stallscope::base
