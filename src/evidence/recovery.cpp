// SPDX-License-Identifier: Apache-2.0
#include "evidence/recovery.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "base/files.h"
#include "base/owned_fd.h"
#include "evidence/sqlite.h"

namespace stallscope::evidence {
namespace {

using base::errno_error;
using base::ok;
using base::OwnedFd;
using base::Result;
using base::Status;

constexpr const char* read_hint = "Read it as its owner or with sudo.";

/// Opens a regular file for reading; O_NONBLOCK so that a FIFO in its place cannot block.
Result<OwnedFd> open_regular(const std::string& path) {
  Result<OwnedFd> file = base::open_file(path, O_RDONLY | O_NONBLOCK);
  if (!file) {
    base::Error error = file.error();
    error.hint = read_hint;
    return error;
  }
  struct stat status {};
  if (::fstat(file->get(), &status) != 0) {
    return errno_error("read", path, errno);
  }
  if (!S_ISREG(status.st_mode)) {
    return base::Error{"read", path, "it is not a regular file", ""};
  }
  return file;
}

Status copy_file(const std::string& from, const std::string& to) {
  const Result<OwnedFd> source = open_regular(from);
  if (!source) {
    return source.error();
  }
  const Result<OwnedFd> target = base::open_file(to, O_WRONLY | O_CREAT | O_EXCL, S_IRUSR | S_IWUSR);
  if (!target) {
    return target.error();
  }
  std::array<char, 65536> buffer{};
  while (true) {
    const ssize_t got = ::read(source->get(), buffer.data(), buffer.size());
    if (got == 0) {
      return ok();
    }
    if (got < 0) {
      return errno_error("read", from, errno);
    }
    const ssize_t written = ::write(target->get(), buffer.data(), static_cast<std::size_t>(got));
    if (written != got) {
      return errno_error("copy to", to, written < 0 ? errno : ENOSPC, "Set TMPDIR to a directory with more space.");
    }
  }
}

}  // namespace

Result<TemporaryDirectory> TemporaryDirectory::create() {
  std::error_code error;
  std::filesystem::path parent = std::filesystem::temp_directory_path(error);
  std::string path = (error ? std::filesystem::path("/tmp") : std::move(parent)) / "stallscope-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) {
    return errno_error("make a temporary directory", path, errno, "Set TMPDIR to a directory that you may write to.");
  }
  return TemporaryDirectory(std::move(path));
}

TemporaryDirectory::TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::exchange(other.path_, std::string())) {}

TemporaryDirectory::~TemporaryDirectory() {
  if (!path_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
}

bool can_recover_in_place(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const std::string directory = parent.empty() ? "." : parent.string();
  const auto ours = [](const std::string& name, mode_t type) {
    struct stat status {};
    // lstat: behind a symbolic link the journal would be looked for elsewhere.
    if (::lstat(name.c_str(), &status) != 0 || (status.st_mode & S_IFMT) != type || status.st_uid != ::geteuid()) {
      return false;
    }
    const bool others_write = (status.st_mode & (S_IWGRP | S_IWOTH)) != 0;
    const bool sticky_directory = type == S_IFDIR && (status.st_mode & S_ISVTX) != 0;
    return (!others_write || sticky_directory) && ::faccessat(AT_FDCWD, name.c_str(), W_OK, AT_EACCESS) == 0;
  };
  return ours(directory, S_IFDIR) && ours(path, S_IFREG) && ours(journal_path(path), S_IFREG);
}

Status check_journal(const std::string& path) {
  // https://www.sqlite.org/fileformat2.html#the_rollback_journal; the end of a journal that names a super-journal, as
  // writeSuperJournal in pager.c writes it.
  constexpr std::array<unsigned char, 8> magic = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
  const std::string journal = journal_path(path);
  const Result<OwnedFd> file = open_regular(journal);
  if (!file) {
    return file.error();
  }
  std::array<unsigned char, magic.size()> end{};
  const off_t size = ::lseek(file->get(), 0, SEEK_END);
  if (size < static_cast<off_t>(end.size())) {
    return ok();
  }
  if (::pread(file->get(), end.data(), end.size(), size - static_cast<off_t>(end.size())) != static_cast<ssize_t>(end.size())) {
    return errno_error("read", journal, errno);
  }
  if (end == magic) {
    return base::Error{"read bundle", path, "the journal beside it was not written by stallscope",
                       "Do not open it with other tools either: its journal makes SQLite delete a file."};
  }
  return ok();
}

Result<std::string> copy_with_journal(const std::string& path, const TemporaryDirectory& directory) {
  const std::string copy = directory.path() + "/bundle.stall";
  if (const Status copied = copy_file(path, copy); !copied) {
    return copied.error();
  }
  if (const Status copied = copy_file(journal_path(path), journal_path(copy)); !copied) {
    return copied.error();
  }
  return copy;
}

}  // namespace stallscope::evidence
