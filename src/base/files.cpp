// SPDX-License-Identifier: Apache-2.0
#include "base/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

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

/// By mincore(2) on a mapping that is never touched.
Result<std::int64_t> count_cached_pages(const OwnedFd& file, const std::string& path, std::int64_t first_page, std::int64_t count) {
  const std::int64_t page_bytes = ::sysconf(_SC_PAGESIZE);
  const auto length = static_cast<std::size_t>(count * page_bytes);
  void* const mapping = ::mmap(nullptr, length, PROT_NONE, MAP_SHARED, file.get(), first_page * page_bytes);
  if (mapping == MAP_FAILED) {
    return errno_error("map", path, errno);
  }
  std::vector<unsigned char> pages(static_cast<std::size_t>(count));
  const int status = ::mincore(mapping, length, pages.data());
  const int reason = errno;
  ::munmap(mapping, length);
  if (status != 0) {
    return errno_error("look at the pages of", path, reason);
  }
  return std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1U) != 0; });
}

}  // namespace stallscope::base
