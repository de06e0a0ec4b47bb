// SPDX-License-Identifier: Apache-2.0
#include "base/replacing_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/files.h"

namespace stallscope::base {
namespace {

constexpr std::size_t buffer_bytes = std::size_t{256} << 10U;
constexpr const char* name_the_place = "Name a place that can be written to.";

/// Where a symbolic link leads to, so that it is not the link that is replaced.
std::string resolved(const std::string& path) {
  std::array<char, PATH_MAX> real{};
  return ::realpath(path.c_str(), real.data()) == nullptr ? path : std::string(real.data());
}

mode_t usual_mode() {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return 0666U & ~mask;
}

}  // namespace

ReplacingFile::ReplacingFile(std::string path, std::string temporary, OwnedFd fd)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(std::move(fd)) {
  buffer_.reserve(buffer_bytes);
}

ReplacingFile::ReplacingFile(ReplacingFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::move(other.fd_)),
      buffer_(std::move(other.buffer_)) {}

ReplacingFile::~ReplacingFile() {
  if (!temporary_.empty()) {
    ::unlink(temporary_.c_str());
  }
}

Result<ReplacingFile> ReplacingFile::create(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    Result<OwnedFd> fd = open_file(path, O_WRONLY);
    if (!fd) {
      return fd.error();
    }
    return ReplacingFile(path, {}, *std::move(fd));
  }
  const std::string place = resolved(path);
  std::string temporary = place + ".XXXXXX";
  OwnedFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) {
    return errno_error("write", path, errno, name_the_place);
  }
  ::fchmod(fd.get(), usual_mode());
  return ReplacingFile(place, std::move(temporary), std::move(fd));
}

Status ReplacingFile::write(std::span<const std::uint8_t> bytes) {
  if (buffer_.size() + bytes.size() > buffer_bytes) {
    if (Status flushed = flush(); !flushed) {
      return flushed;
    }
  }
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  return ok();
}

Status ReplacingFile::write(std::string_view text) {
  return write(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
}

Status ReplacingFile::flush() {
  std::span<const std::uint8_t> rest = buffer_;
  while (!rest.empty()) {
    const ssize_t written = ::write(fd_.get(), rest.data(), rest.size());
    if (written < 0 && errno != EINTR) {
      return errno_error("write", path_, errno, errno == ENOSPC ? "Make room, or name a place on another disk." : "");
    }
    rest = rest.subspan(static_cast<std::size_t>(written < 0 ? 0 : written));
  }
  buffer_.clear();
  return ok();
}

Status ReplacingFile::commit() {
  if (Status flushed = flush(); !flushed) {
    return flushed;
  }
  if (temporary_.empty()) {
    return ok();
  }
  // Only what is on the disk may take the place of what was there.
  if (::fsync(fd_.get()) != 0 || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return errno_error("write", path_, errno);
  }
  temporary_.clear();
  return ok();
}

}  // namespace stallscope::base
