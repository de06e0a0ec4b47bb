// SPDX-License-Identifier: Apache-2.0
#include "remedy/file_release.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/files.h"
#include "remedy/action.h"
#include "remedy/journal.h"

namespace stallscope::remedy {
namespace {

constexpr std::int64_t pages = 40;

/// A directory of the test's own on a tmpfs, gone with its owner.
class Directory {
 public:
  Directory() {
    std::string name = "/dev/shm/stallscope-remedy-test-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) {
      std::abort();
    }
    path_ = name;
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  Directory(Directory&&) = delete;
  Directory& operator=(Directory&&) = delete;

  [[nodiscard]] std::string file(std::int64_t page_count) const {
    const std::string path = path_ + "/file";
    const base::Result<base::OwnedFd> file = base::open_file(path, O_RDWR | O_CREAT, 0600);
    const std::string page(4096, 'x');
    for (std::int64_t i = 0; file && i < page_count; ++i) {
      EXPECT_EQ(::pwrite(file->get(), page.data(), page.size(), i * 4096), 4096);
    }
    return path;
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(FileRelease, LetsGoOfPagesInStepsFromTheEndAndKeepsTheSize) {
  const Directory directory;
  const std::string path = directory.file(pages);
  base::Result<FileRelease> release = FileRelease::open(path, FileAction::punch);
  ASSERT_TRUE(release) << release.error().message();
  EXPECT_EQ(release->page_count(), pages);
  EXPECT_EQ(*release->step(15), 15);
  EXPECT_EQ(*release->count_pages(), pages - 15);
  // Another run goes on where this one ended: by what is left of the file.
  base::Result<FileRelease> next = FileRelease::open(path, FileAction::punch);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->page_count(), pages - 15);
  std::int64_t freed = 0;
  while (!next->done()) {
    freed += *next->step(15);
  }
  EXPECT_EQ(freed, pages - 15);
  EXPECT_EQ(std::filesystem::file_size(path), static_cast<std::uintmax_t>(pages * 4096));
}

TEST(FileRelease, RemovesTheNameOnlyWhereItStillMeansTheFile) {
  const Directory directory;
  const std::string path = directory.file(2);
  base::Result<FileRelease> release = FileRelease::open(path, FileAction::remove);
  ASSERT_TRUE(release);
  std::filesystem::rename(path, directory.path() + "/moved");
  static_cast<void>(directory.file(1));
  EXPECT_FALSE(release->finish());
  EXPECT_TRUE(std::filesystem::exists(path));
  base::Result<FileRelease> again = FileRelease::open(path, FileAction::remove);
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->finish());
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(FileRelease, RefusesLinksDirectoriesAndTheCacheOfFilesInMemory) {
  const Directory directory;
  const std::string path = directory.file(1);
  std::filesystem::create_symlink(path, directory.path() + "/link");
  EXPECT_FALSE(FileRelease::open(directory.path() + "/link", FileAction::punch));
  EXPECT_FALSE(FileRelease::open(directory.path(), FileAction::drop_cache));
  EXPECT_FALSE(FileRelease::open(path, FileAction::drop_cache));
}

TEST(Prepare, RefusesWhatTheUserDidNotName) {
  for (const char* option : {"drop-file-cache", "punch-file", "remove-file", "reclaim", "stop-reader", "drop-caches", "nonsense"}) {
    Request request;
    request.option = option;
    const base::Result<std::unique_ptr<Action>> action = prepare(request);
    ASSERT_FALSE(action) << option;
    EXPECT_FALSE(action.error().hint.empty()) << option;
  }
  Request itself;
  itself.option = "stop-reader";
  itself.pid = ::getpid();
  EXPECT_FALSE(prepare(itself));
  itself.pid = 1;
  EXPECT_FALSE(prepare(itself));
}

}  // namespace
}  // namespace stallscope::remedy
