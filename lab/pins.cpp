// SPDX-License-Identifier: Apache-2.0
#include "lab/pins.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/files.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;
using base::Status;

constexpr std::array<std::string_view, 3> memory_places = {"/dev/shm", "/run", "/tmp"};
constexpr std::array<std::string_view, 3> disk_places = {"/var/tmp", "/var/lib", "/tmp"};
/// Whose pages are reclaimed and whose names are cached as those of a disk.
constexpr std::array<std::string_view, 5> disk_filesystems = {"ext4", "xfs", "btrfs", "f2fs", "overlay"};

std::int64_t page_bytes() {
  return ::sysconf(_SC_PAGESIZE);
}

bool is_in_memory(PinKind kind) {
  return kind == PinKind::tmpfs || kind == PinKind::swap;
}

std::string pin_path(PinKind kind, std::string_view place) {
  return fmt::format("{}/stallscope-lab-{}", place, kind == PinKind::dentries ? "names" : "pins");
}

/// The last mount on a mount point is the one that is seen.
const host::Mount* mount_on(const std::vector<host::Mount>& mounts, std::string_view point) {
  const auto top =
      std::find_if(mounts.rbegin(), mounts.rend(), [&](const host::Mount& mount) { return mount.mount_point == point; });
  return top == mounts.rend() ? nullptr : &*top;
}

/// The mount that `directory` lies on.
const host::Mount* mount_of(const std::vector<host::Mount>& mounts, std::string_view directory) {
  while (directory.size() > 1) {
    if (const host::Mount* mount = mount_on(mounts, directory)) {
      return mount;
    }
    directory = directory.substr(0, std::max<std::size_t>(directory.rfind('/'), 1));
  }
  return mount_on(mounts, "/");
}

bool is_on_disk(const std::vector<host::Mount>& mounts, std::string_view directory) {
  const host::Mount* mount = mount_of(mounts, directory);
  return mount != nullptr &&
         std::find(disk_filesystems.begin(), disk_filesystems.end(), mount->filesystem) != disk_filesystems.end();
}

bool is_on_tmpfs(const std::vector<host::Mount>& mounts, std::string_view directory) {
  const host::Mount* mount = mount_on(mounts, directory);
  return mount != nullptr && mount->filesystem == "tmpfs";
}

/// An error unless it is a lab's.
Status check_owner(const OwnedFd& fd, const PinPlace& place) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return base::errno_error("look at", place.path, errno);
  }
  const bool directory = place.kind == PinKind::dentries;
  const bool right_type = directory ? S_ISDIR(status.st_mode) : S_ISREG(status.st_mode) && status.st_nlink == 1;
  if (!right_type || status.st_uid != ::geteuid()) {
    return Error{"use", place.path, fmt::format("it is not the lab's own (owner {}, {} links)", status.st_uid, status.st_nlink),
                 "Remove it and try again."};
  }
  return base::ok();
}

}  // namespace

std::optional<PinKind> parse_pin_kind(std::string_view name) {
  const auto* const found = std::find(pin_names.begin(), pin_names.end(), name);
  return found == pin_names.end() ? std::nullopt : std::optional(static_cast<PinKind>(found - pin_names.begin()));
}

Result<PinPlace> choose_pin_place(PinKind kind, const std::vector<host::Mount>& mounts) {
  const bool in_memory = is_in_memory(kind);
  for (const std::string_view place : in_memory ? memory_places : disk_places) {
    if (in_memory ? is_on_tmpfs(mounts, place) : is_on_disk(mounts, place)) {
      return PinPlace{kind, pin_path(kind, place)};
    }
  }
  return in_memory ? Error{"pin zombie cgroups", "", "no tmpfs is mounted on /dev/shm, /run or /tmp",
                           "Mount one: mount -t tmpfs none /dev/shm"}
                   : Error{"pin zombie cgroups", "", "none of /var/tmp, /var/lib and /tmp is on a disk (ext4, xfs, btrfs, f2fs)",
                           "Pin them by a file in memory: --pin tmpfs"};
}

std::vector<PinPlace> find_left_pins(const std::vector<host::Mount>& mounts) {
  std::vector<PinPlace> found;
  const auto add = [&](PinKind kind, std::string_view place) {
    PinPlace candidate{kind, pin_path(kind, place)};
    if (::faccessat(AT_FDCWD, candidate.path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
      found.push_back(std::move(candidate));
    }
  };
  for (const std::string_view place : memory_places) {
    if (is_on_tmpfs(mounts, place)) {
      add(PinKind::tmpfs, place);
    }
  }
  for (const std::string_view place : disk_places) {
    if (is_on_disk(mounts, place)) {
      add(PinKind::page_cache, place);
      add(PinKind::dentries, place);
    }
  }
  return found;
}

Result<Pins> Pins::create(const PinPlace& place) {
  if (place.kind == PinKind::dentries) {
    if (::mkdir(place.path.c_str(), S_IRWXU) != 0) {
      return base::errno_error("make", place.path, errno);
    }
    Result<OwnedFd> directory = base::open_file(place.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    return directory ? Result<Pins>(Pins(place, std::move(*directory))) : directory.error();
  }
  Result<OwnedFd> file = base::open_file(place.path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, S_IRUSR | S_IWUSR);
  return file ? Result<Pins>(Pins(place, std::move(*file))) : file.error();
}

Result<std::optional<Pins>> Pins::open(const PinPlace& place) {
  const int access = place.kind == PinKind::dentries ? O_RDONLY | O_DIRECTORY : O_RDWR;
  OwnedFd fd(::open(place.path.c_str(), access | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd && errno == ENOENT) {
    return std::optional<Pins>();
  }
  if (!fd) {
    return base::errno_error("open", place.path, errno, "The lab did not make it. Remove it and try again.");
  }
  if (Status ours = check_owner(fd, place); !ours) {
    return ours.error();
  }
  return std::optional<Pins>(Pins(place, std::move(fd)));
}

Status Pins::charge(std::int64_t index) const {
  if (place_.kind == PinKind::dentries) {
    // Looking for it is what makes the entry. On tmpfs it would not be kept (simple_lookup, fs/libfs.c).
    if (::faccessat(fd_.get(), fmt::format("{}", index).c_str(), F_OK, 0) == 0 || errno != ENOENT) {
      return Error{"look for a missing name in", place_.path, "somebody else has put it there", "Empty the directory."};
    }
    return base::ok();
  }
  const std::string page(static_cast<std::size_t>(page_bytes()), '\0');
  const auto offset = static_cast<off_t>(index * page_bytes());
  if (::pwrite(fd_.get(), page.data(), page.size(), offset) != static_cast<ssize_t>(page.size())) {
    return base::errno_error("write", place_.path, errno, "It needs 4 KiB of its file system for each zombie.");
  }
  return place_.kind == PinKind::swap ? swap_out(index) : base::ok();
}

Status Pins::swap_out(std::int64_t index) const {
  const auto length = static_cast<std::size_t>(page_bytes());
  void* const mapping =
      ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), static_cast<off_t>(index * page_bytes()));
  if (mapping == MAP_FAILED) {
    return base::errno_error("map", place_.path, errno);
  }
  // Only pages that are mapped are looked at.
  *static_cast<volatile char*>(mapping) = 1;
  // Linux 5.4, commit 1a4e58cce84e. Where the page stays in memory after all, it pins as that.
  const int status = ::madvise(mapping, length, MADV_PAGEOUT);
  const int reason = errno;
  ::munmap(mapping, length);
  return status == 0 ? base::ok() : Status(base::errno_error("swap out a page of", place_.path, reason));
}

Status Pins::settle() const {
  if (place_.kind == PinKind::page_cache && ::fdatasync(fd_.get()) != 0) {
    return base::errno_error("write out", place_.path, errno);
  }
  return base::ok();
}

Result<std::int64_t> Pins::size_pages() const {
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) {
    return base::errno_error("look at", place_.path, errno);
  }
  return place_.kind == PinKind::dentries ? 0 : status.st_size / page_bytes();
}

Result<std::int64_t> Pins::count() const {
  const Result<std::int64_t> pages = size_pages();
  // A file in memory has all its pages, be they swapped out.
  return !pages || *pages == 0 || is_in_memory(place_.kind) ? pages : base::count_cached_pages(fd_, place_.path, 0, *pages);
}

Result<std::optional<std::int64_t>> Pins::release(std::int64_t most) const {
  const Result<std::int64_t> pages = size_pages();
  if (!pages) {
    return pages.error();
  }
  if (*pages == 0) {
    return std::optional<std::int64_t>();
  }
  const std::int64_t left = std::max<std::int64_t>(*pages - most, 0);
  const Result<std::int64_t> taken = is_in_memory(place_.kind) ? Result<std::int64_t>(*pages - left)
                                                               : base::count_cached_pages(fd_, place_.path, left, *pages - left);
  if (!taken) {
    return taken.error();
  }
  if (::ftruncate(fd_.get(), left * page_bytes()) != 0) {
    return base::errno_error("cut", place_.path, errno);
  }
  return std::optional(*taken);
}

Status Pins::remove() const {
  const bool directory = place_.kind == PinKind::dentries;
  if ((directory ? ::rmdir(place_.path.c_str()) : ::unlink(place_.path.c_str())) != 0) {
    return base::errno_error("remove", place_.path, errno);
  }
  return base::ok();
}

}  // namespace stallscope::lab
