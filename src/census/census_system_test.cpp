// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
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

/// What the kernel's own files say of a cgroup, in bytes; -1: not in them.
struct OwnFiles {
  std::int64_t version = 0;
  std::int64_t memory = -1;
  std::string stat;

  [[nodiscard]] std::int64_t row(const char* v1_name, const char* v2_name) const {
    const char* const name = version == 1 ? v1_name : v2_name;
    return name == nullptr ? -1 : cgroup_stat_value(stat, name).value_or(-1);
  }
};

OwnFiles read_own_files(const std::string& cgroup, std::int64_t version) {
  OwnFiles files;
  files.version = version;
  // The reading of memory.stat is what brings the statistics up to date.
  const base::Result<std::string> stat = base::read_file(cgroup + "/memory.stat");
  const base::Result<std::string> memory = base::read_file(cgroup + (version == 1 ? "/memory.usage_in_bytes" : "/memory.current"));
  EXPECT_TRUE(stat && memory);
  files.stat = stat ? *stat : "";
  files.memory = memory ? std::stoll(*memory) : -1;
  return files;
}

/// The census between two readings of the same: equal to both, or between them.
void expect_between(const char* what, std::int64_t first, std::int64_t census, std::int64_t second) {
  if (first < 0) {
    return;
  }
  EXPECT_GE(census, std::min(first, second)) << what;
  EXPECT_LE(census, std::max(first, second)) << what;
}

TEST(CensusSystem, ChargesByKindAreThoseOfMemoryStat) {
  constexpr int file_pages = 700;
  constexpr int anonymous_pages = 1'500;
  const std::int64_t page_bytes = ::sysconf(_SC_PAGESIZE);
  const std::int64_t version = count_memcgs("", own_mounts()).hierarchy.version;
  DyingMemcgs memcgs;
  const PinningFile file;
  const std::string live = memcgs.charge_live(file.fd(), file_pages, anonymous_pages);
  struct stat directory {};
  ASSERT_EQ(::stat(live.c_str(), &directory), 0);
  // A batch of changes may not have been flushed yet; the kernel does within 2 s.
  OwnFiles first;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  do {
    first = read_own_files(live, version);
  } while ((first.row("shmem", "shmem") < file_pages * page_bytes || first.row("rss", "anon") < anonymous_pages * page_bytes) &&
           std::chrono::steady_clock::now() < deadline);
  CensusOptions options;
  options.read_cost = false;
  const CensusResult census = take_census(options);
  const OwnFiles second = read_own_files(live, version);
  const auto found = std::find_if(census.table.memcgs.begin(), census.table.memcgs.end(),
                                  [&](const Memcg& memcg) { return memcg.id == directory.st_ino; });
  ASSERT_NE(found, census.table.memcgs.end());
  ASSERT_TRUE(census.table.kinds_known);
  const MemcgCharges& charges = found->charges;
  EXPECT_GE(charges.shmem_bytes, file_pages * page_bytes);
  EXPECT_GE(charges.anonymous_bytes, anonymous_pages * page_bytes);
  expect_between("memory", first.memory, charges.memory_bytes, second.memory);
  expect_between("file", first.row("cache", "file"), charges.file_bytes, second.row("cache", "file"));
  expect_between("shmem", first.row("shmem", "shmem"), charges.shmem_bytes, second.row("shmem", "shmem"));
  expect_between("anonymous", first.row("rss", "anon"), charges.anonymous_bytes, second.row("rss", "anon"));
  // Cgroup v1 does not say these.
  expect_between("slab, reclaimable", first.row(nullptr, "slab_reclaimable"), charges.slab_reclaimable_bytes,
                 second.row(nullptr, "slab_reclaimable"));
  expect_between("slab, unreclaimable", first.row(nullptr, "slab_unreclaimable"), charges.slab_unreclaimable_bytes,
                 second.row(nullptr, "slab_unreclaimable"));
  expect_between("kernel stacks", first.row(nullptr, "kernel_stack"), charges.kernel_stack_bytes,
                 second.row(nullptr, "kernel_stack"));
  expect_between("sockets", first.row(nullptr, "sock"), charges.socket_bytes, second.row(nullptr, "sock"));
}

TEST(CensusSystem, FindsTheFilesWithMostPageCacheThatPinNothing) {
  // Among the 50 largest of any test machine: one in memory and one on a disk.
  constexpr std::size_t large_pages = 20'000;
  CensusOptions options;
  options.read_cost = false;
  options.cached_file_limit = 50;
  const std::string on_disk = "/var/tmp/stallscope-census-test-file";
  const PinningFile in_memory;
  const base::Result<base::OwnedFd> disk = base::open_file(on_disk, O_RDWR | O_CREAT | O_TRUNC, 0600);
  ASSERT_TRUE(disk);
  const std::string page(static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), 'x');
  for (std::size_t i = 0; i < large_pages; ++i) {
    ASSERT_EQ(::write(in_memory.fd(), page.data(), page.size()), static_cast<ssize_t>(page.size()));
    ASSERT_EQ(::write(disk->get(), page.data(), page.size()), static_cast<ssize_t>(page.size()));
  }
  const CensusResult census = take_census(options);
  std::filesystem::remove(on_disk);
  ASSERT_EQ(census.cached_files.size(), 50U);
  EXPECT_GE(census.cached_files[0].cached_bytes, census.cached_files[1].cached_bytes);
  for (const std::string& path : {on_disk, in_memory.path()}) {
    const auto found = std::find_if(census.cached_files.begin(), census.cached_files.end(),
                                    [&](const census::PinningFile& file) { return file.path == path; });
    ASSERT_NE(found, census.cached_files.end()) << path;
    EXPECT_EQ(found->cached_bytes, static_cast<std::int64_t>(large_pages * page.size()));
    EXPECT_EQ(found->memcg_count, 0);
  }
  EXPECT_TRUE(take_census({}).cached_files.empty()) << "every inode was looked at unasked";
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
