// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/owned_fd.h"
#include "base/result.h"

namespace stallscope::remedy {

enum class FileAction : std::uint8_t {
  /// posix_fadvise(POSIX_FADV_DONTNEED): clean pages that nobody maps go, the content stays.
  drop_cache,
  /// fallocate(FALLOC_FL_PUNCH_HOLE): the content goes with its pages, the size stays.
  punch,
  /// As punch, and the name in the end.
  remove,
};

/// Takes a file's pages out of memory from its end to its beginning, some at a time. What is left of the file says where to go on,
/// so a run that was killed is continued by the next one.
class FileRelease {
 public:
  /// Opens `path`, which must be a regular file and no symbolic link. Of drop_cache on tmpfs, where it does nothing, an error; it
  /// writes dirty pages out first, and blocks for that.
  [[nodiscard]] static base::Result<FileRelease> open(const std::string& path, FileAction action);

  /// Pages in memory when it was opened.
  [[nodiscard]] std::int64_t page_count() const { return page_count_; }
  [[nodiscard]] bool done() const { return cursor_pages_ == 0; }
  /// Lets go of about `pages` pages in memory; returns how many it passed. Stretches without pages in memory are skipped.
  [[nodiscard]] base::Result<std::int64_t> step(std::int64_t pages);
  /// Once done: removes the name where that was asked for, if it still names the same file.
  [[nodiscard]] base::Status finish();
  /// Pages in memory now.
  [[nodiscard]] base::Result<std::int64_t> count_pages() const;
  [[nodiscard]] std::uint64_t inode() const { return inode_; }
  [[nodiscard]] std::uint64_t device() const { return device_; }

 private:
  FileRelease(base::OwnedFd file, std::string path, FileAction action)
      : file_(std::move(file)), path_(std::move(path)), action_(action) {}
  [[nodiscard]] base::Status let_go(std::int64_t first_page, std::int64_t count) const;

  base::OwnedFd file_;
  std::string path_;
  FileAction action_;
  std::int64_t page_count_ = 0;
  /// Pages of the file before this one have not been looked at.
  std::int64_t cursor_pages_ = 0;
  std::uint64_t inode_ = 0;
  std::uint64_t device_ = 0;
};

}  // namespace stallscope::remedy
