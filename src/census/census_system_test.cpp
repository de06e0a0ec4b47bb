// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/files.h"
#include "census/census.h"
#include "census/dying_memcgs.h"
#include "census/memcg_counts.h"
#include "census/memcg_walk.h"

// Against the running kernel. Other memory cgroups come and go meanwhile, so exact numbers are asked only of the test's own.
namespace stallscope::census {
namespace {

constexpr int dying_count = 300;

std::vector<host::Mount> own_mounts() {
  const base::Result<std::string> text = base::read_file("/proc/self/mountinfo");
  return host::parse_mountinfo(text ? *text : "");
}

std::int64_t kernel_total() {
  return count_memcgs("", own_mounts()).total.value_or(-1);
}

/// A file on tmpfs, whose pages stay until it goes.
class PinningFile {
 public:
  PinningFile() {
    std::filesystem::create_directories(directory_);
    std::filesystem::remove(path());
    base::Result<base::OwnedFd> opened = base::open_file(path(), O_RDWR | O_CREAT, 0600);
    if (opened) {
      file_ = std::move(*opened);
    }
  }
  ~PinningFile() { std::filesystem::remove_all(directory_); }
  PinningFile(const PinningFile&) = delete;
  PinningFile& operator=(const PinningFile&) = delete;
  PinningFile(PinningFile&&) = delete;
  PinningFile& operator=(PinningFile&&) = delete;

  [[nodiscard]] int fd() const { return file_.get(); }
  [[nodiscard]] std::string path() const { return directory_ + "/pins"; }
  void remove_name() const { std::filesystem::remove(path()); }

 private:
  std::string directory_ = "/dev/shm/stallscope-census-test";
  base::OwnedFd file_;
};

std::vector<evidence::PinningFileRecord> files_named(const std::vector<evidence::PinningFileRecord>& files,
                                                     const std::string& path) {
  std::vector<evidence::PinningFileRecord> found;
  std::copy_if(files.begin(), files.end(), std::back_inserter(found),
               [&](const evidence::PinningFileRecord& file) { return file.path == path; });
  return found;
}

TEST(MemcgWalkSystem, CountsWhatTheKernelCounts) {
  DyingMemcgs memcgs;
  const PinningFile file;
  memcgs.pin(file.fd(), dying_count);
  // Equal before and after is not yet proof that nothing changed in between; a wrong walk differs every time.
  constexpr int attempts = 50;
  bool agreed = false;
  for (int i = 0; i < attempts && !agreed; ++i) {
    const std::int64_t before = kernel_total();
    ASSERT_GT(before, 0);
    const base::Result<MemcgWalk> walk = walk_memcgs({});
    ASSERT_TRUE(walk) << walk.error().message();
    agreed = !walk->approximate && walk->live_count + walk->dying_count == before && before == kernel_total();
  }
  EXPECT_TRUE(agreed);
}

TEST(MemcgWalkSystem, GoesOnWhereTheSectionBeforeEnded) {
  DyingMemcgs memcgs;
  const PinningFile file;
  memcgs.pin(file.fd(), dying_count);
  // 7 does not divide the number of children, so that sections begin and end everywhere in the tree.
  base::Result<MemcgWalk> in_pieces = walk_memcgs(own_mounts(), {.section_limit = {7, 400'000}});
  // So many sections can meet memory cgroups of others that go away, but not every time.
  constexpr int attempts = 10;
  for (int i = 1; i < attempts && in_pieces && in_pieces->approximate; ++i) {
    in_pieces = walk_memcgs(own_mounts(), {.section_limit = {7, 400'000}});
  }
  ASSERT_TRUE(in_pieces) << in_pieces.error().message();
  EXPECT_FALSE(in_pieces->approximate);
  const auto found = files_named(in_pieces->files, file.path());
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].memcg_count, dying_count);
}

TEST(MemcgWalkSystem, FindsTheFileThatPinsDyingMemcgs) {
  DyingMemcgs memcgs;
  const PinningFile file;
  ASSERT_EQ(memcgs.walked_count(), 0);
  memcgs.pin(file.fd(), dying_count);
  EXPECT_EQ(memcgs.walked_count(), dying_count);

  const base::Result<MemcgWalk> walk = walk_memcgs(own_mounts());
  ASSERT_TRUE(walk) << walk.error().message();
  EXPECT_GE(walk->dying_count, dying_count);
  EXPECT_GT(walk->longest_section_ns, 0);
  EXPECT_LE(walk->longest_section_ns, walk->walk_ns);
  const auto found = files_named(walk->files, file.path());
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].memcg_count, dying_count);
  EXPECT_EQ(found[0].filesystem, "tmpfs");
  EXPECT_GE(found[0].charged_bytes, std::int64_t{dying_count} * ::sysconf(_SC_PAGESIZE));
  EXPECT_GE(walk->dying_charged_bytes, found[0].charged_bytes);

  file.remove_name();
  const base::Result<MemcgWalk> after = walk_memcgs(own_mounts());
  ASSERT_TRUE(after) << after.error().message();
  const auto deleted = files_named(after->files, file.path() + " (deleted)");
  ASSERT_EQ(deleted.size(), 1U);
  EXPECT_EQ(deleted[0].inode, found[0].inode);
  EXPECT_EQ(deleted[0].memcg_count, dying_count);
}

TEST(MemcgWalkSystem, NamesAMemfd) {
  constexpr int few = 40;
  DyingMemcgs memcgs;
  {
    const base::OwnedFd memfd(::memfd_create("stallscope-census-test", MFD_CLOEXEC));
    ASSERT_TRUE(memfd);
    memcgs.pin(memfd.get(), few);
    const base::Result<MemcgWalk> walk = walk_memcgs(own_mounts());
    ASSERT_TRUE(walk) << walk.error().message();
    const auto found = files_named(walk->files, "memfd:stallscope-census-test");
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].memcg_count, few);
  }
}

TEST(CensusSystem, TakesEveryPartAsRoot) {
  DyingMemcgs memcgs;
  const PinningFile file;
  memcgs.pin(file.fd(), dying_count);
  const CensusResult result = take_census({});
  ASSERT_TRUE(result.memcgs.walked_dying);
  EXPECT_GE(*result.memcgs.walked_dying, dying_count);
  EXPECT_GE(result.memcgs.walked_live.value_or(0), 2);
  EXPECT_EQ(files_named(result.pinning_files, file.path()).size(), 1U);
  EXPECT_FALSE(result.stat_reads.empty());
  EXPECT_THAT(result.memory, testing::Contains(testing::Field(&evidence::MemoryRecord::name, "MemTotal")));
}

TEST(CensusSystem, WithoutPrivilegesSaysWhatIsMissing) {
  constexpr uid_t nobody = 65534;
  const auto take_as_nobody = [] {
    if (::setuid(nobody) != 0) {
      ::_exit(1);
    }
    const CensusResult result = take_census({});
    const bool gap_names_reason = std::any_of(result.gaps.begin(), result.gaps.end(), [](const evidence::GapRecord& gap) {
      return gap.what == "walk of the memory cgroups" && gap.reason.find("not permitted") != std::string::npos;
    });
    ::_exit(gap_names_reason && !result.memcgs.walked_dying && !result.memory.empty() ? 0 : 2);
  };
  EXPECT_EXIT(take_as_nobody(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace stallscope::census
