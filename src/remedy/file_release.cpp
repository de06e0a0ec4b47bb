// SPDX-License-Identifier: Apache-2.0
#include "remedy/file_release.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/files.h"

namespace stallscope::remedy {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;
using base::Status;

/// How much of a file without pages in memory is passed over at a time: 256 MiB.
constexpr std::int64_t look_pages = 65'536;

std::int64_t page_bytes() {
  return ::sysconf(_SC_PAGESIZE);
}

}  // namespace

Result<FileRelease> FileRelease::open(const std::string& path, FileAction action) {
  const int access = action == FileAction::drop_cache ? O_RDONLY : O_RDWR;
  Result<OwnedFd> file = base::open_file(path, access | O_NOFOLLOW | O_NONBLOCK);
  if (!file) {
    return file.error();
  }
  struct stat status {};
  struct statfs filesystem {};
  if (::fstat(file->get(), &status) != 0 || ::fstatfs(file->get(), &filesystem) != 0) {
    return base::errno_error("look at", path, errno);
  }
  if (!S_ISREG(status.st_mode)) {
    return Error{"release", path, "it is not a regular file", ""};
  }
  if (action == FileAction::drop_cache) {
    if (filesystem.f_type == TMPFS_MAGIC) {
      return Error{"drop the cache of", path, "it is a file in memory (tmpfs): its pages are its content",
                   "To give the content up: punch-file or remove-file."};
    }
    if (::fdatasync(file->get()) != 0) {
      return base::errno_error("write out", path, errno);
    }
  }
  FileRelease release(std::move(*file), path, action);
  release.inode_ = status.st_ino;
  release.device_ = status.st_dev;
  release.cursor_pages_ = (status.st_size + page_bytes() - 1) / page_bytes();
  const Result<std::int64_t> count = release.count_pages();
  if (!count) {
    return count.error();
  }
  release.page_count_ = *count;
  return release;
}

Result<std::int64_t> FileRelease::count_pages() const {
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) {
    return base::errno_error("look at", path_, errno);
  }
  const std::int64_t all = (status.st_size + page_bytes() - 1) / page_bytes();
  std::int64_t count = 0;
  for (std::int64_t first = 0; first < all; first += look_pages) {
    const Result<std::int64_t> cached = base::count_cached_pages(file_, path_, first, std::min(look_pages, all - first));
    if (!cached) {
      return cached.error();
    }
    count += *cached;
  }
  return count;
}

Status FileRelease::let_go(std::int64_t first_page, std::int64_t count) const {
  const off_t offset = first_page * page_bytes();
  const off_t length = count * page_bytes();
  if (action_ == FileAction::drop_cache) {
    const int reason = ::posix_fadvise(file_.get(), offset, length, POSIX_FADV_DONTNEED);
    return reason == 0 ? base::ok() : Status(base::errno_error("drop the cache of", path_, reason));
  }
  if (::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) != 0) {
    return base::errno_error("punch a hole into", path_, errno);
  }
  return base::ok();
}

Result<std::int64_t> FileRelease::step(std::int64_t pages) {
  while (cursor_pages_ > 0) {
    const std::int64_t count = std::min(pages, cursor_pages_);
    const std::int64_t first = cursor_pages_ - count;
    const Result<std::int64_t> cached = base::count_cached_pages(file_, path_, first, count);
    if (!cached) {
      return cached.error();
    }
    cursor_pages_ = first;
    if (*cached > 0) {
      if (const Status gone = let_go(first, count); !gone) {
        return gone.error();
      }
      return *cached;
    }
  }
  return std::int64_t{0};
}

Status FileRelease::finish() {
  if (action_ != FileAction::remove) {
    return base::ok();
  }
  struct stat status {};
  if (::lstat(path_.c_str(), &status) != 0 || status.st_ino != inode_ || status.st_dev != device_) {
    return Error{"remove", path_, "the name no longer means the file whose pages were let go",
                 "Look at it, then remove it yourself."};
  }
  return ::unlink(path_.c_str()) == 0 ? base::ok() : Status(base::errno_error("remove", path_, errno));
}

}  // namespace stallscope::remedy
