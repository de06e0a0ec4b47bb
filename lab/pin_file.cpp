// SPDX-License-Identifier: Apache-2.0
#include "lab/pin_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/files.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;

}  // namespace

Result<std::string> choose_pin_path(const std::vector<host::Mount>& mounts) {
  constexpr std::array<std::string_view, 3> usual_places = {"/dev/shm", "/run", "/tmp"};
  for (const std::string_view place : usual_places) {
    // The last mount on a mount point is the one that is seen.
    const auto top =
        std::find_if(mounts.rbegin(), mounts.rend(), [&](const host::Mount& mount) { return mount.mount_point == place; });
    if (top != mounts.rend() && top->filesystem == "tmpfs") {
      return fmt::format("{}/stallscope-lab-pins", place);
    }
  }
  return Error{"pin zombie cgroups", "", "no tmpfs is mounted on /dev/shm, /run or /tmp",
               "Mount one: mount -t tmpfs none /dev/shm"};
}

Result<OwnedFd> create_pin_file(const std::string& path) {
  return base::open_file(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, S_IRUSR | S_IWUSR);
}

Result<std::optional<OwnedFd>> open_pin_file(const std::string& path) {
  OwnedFd file(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file && errno == ENOENT) {
    return std::optional<OwnedFd>();
  }
  if (!file) {
    return base::errno_error("open", path, errno, "The lab did not make it. Remove it and try again.");
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    return base::errno_error("look at", path, errno);
  }
  if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid() || status.st_nlink != 1) {
    return Error{"use", path, fmt::format("it is not the lab's own file (owner {}, {} links)", status.st_uid, status.st_nlink),
                 "Remove it and try again."};
  }
  return std::optional<OwnedFd>(std::move(file));
}

Result<std::int64_t> count_pages(const OwnedFd& file, const std::string& path) {
  constexpr std::int64_t block_bytes = 512;
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    return base::errno_error("look at", path, errno);
  }
  return status.st_blocks * block_bytes / ::sysconf(_SC_PAGESIZE);
}

}  // namespace stallscope::lab
