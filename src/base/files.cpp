// SPDX-License-Identifier: Apache-2.0
#include "base/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace stallscope::base {

Result<OwnedFd> open_file(const std::string& path, int flags, unsigned mode) {
  OwnedFd file(::open(path.c_str(), flags | O_CLOEXEC, mode));  // NOLINT(cppcoreguidelines-pro-type-vararg)
  if (!file) {
    return errno_error("open", path, errno);
  }
  return file;
}

Result<std::string> read_file(const std::string& path) {
  constexpr std::size_t limit_bytes = std::size_t{64} << 20U;
  Result<OwnedFd> file = open_file(path, O_RDONLY);
  if (!file) {
    return file.error();
  }
  std::string content;
  std::array<char, 16384> buffer{};
  while (true) {
    const ssize_t got = ::read(file->get(), buffer.data(), buffer.size());
    if (got == 0) {
      return content;
    }
    if (got < 0) {
      if (errno == EINTR) {
        continue;
      }
      return errno_error("read", path, errno);
    }
    content.append(buffer.data(), static_cast<std::size_t>(got));
    if (content.size() > limit_bytes) {
      return Error{"read", path, "larger than 64 MiB", ""};
    }
  }
}

Status write_file(const std::string& path, std::string_view text) {
  const Result<OwnedFd> file = open_file(path, O_WRONLY);
  if (!file) {
    return file.error();
  }
  const ssize_t written = ::write(file->get(), text.data(), text.size());
  if (written < 0) {
    return errno_error("write", path, errno);
  }
  if (static_cast<std::size_t>(written) != text.size()) {
    return Error{"write", path, "written only in part", ""};
  }
  return ok();
}

}  // namespace stallscope::base
