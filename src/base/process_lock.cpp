// SPDX-License-Identifier: Apache-2.0
#include "base/process_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/files.h"

namespace stallscope::base {
namespace {

struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

/// Whether `path` still names the open file: a holder removes it before it lets go.
bool still_names(const std::string& path, int fd) {
  struct stat by_fd {};
  struct stat by_path {};
  return ::fstat(fd, &by_fd) == 0 && ::lstat(path.c_str(), &by_path) == 0 && by_fd.st_dev == by_path.st_dev &&
         by_fd.st_ino == by_path.st_ino;
}

}  // namespace

Result<ProcessLock> ProcessLock::take(const std::string& path, std::string_view what) {
  while (true) {
    Result<OwnedFd> file = open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    if (!file) {
      return file.error();
    }
    struct flock lock = whole_file();
    if (::fcntl(file->get(), F_SETLK, &lock) == 0) {
      if (still_names(path, file->get())) {
        return ProcessLock(path, std::move(*file));
      }
      continue;
    }
    if (errno != EACCES && errno != EAGAIN) {
      return errno_error("lock", path, errno);
    }
    struct flock holder = whole_file();
    if (::fcntl(file->get(), F_GETLK, &holder) == 0 && holder.l_type == F_UNLCK) {
      continue;  // Its holder has just let go.
    }
    return Error{"lock", path, fmt::format("another {} is at work, process {}", what, holder.l_pid),
                 fmt::format("Wait for it to end, or end it: kill {}", holder.l_pid)};
  }
}

ProcessLock::~ProcessLock() {
  if (file_) {
    ::unlink(path_.c_str());
  }
}

}  // namespace stallscope::base
