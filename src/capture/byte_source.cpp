// SPDX-License-Identifier: Apache-2.0
#include "capture/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/owned_fd.h"

namespace stallscope::capture {
namespace {

/// It stays in a CPU's caches. Files are read through it, too: mapped, each page of theirs would cost a fault, which on a virtual
/// machine takes longer than to copy it.
constexpr std::size_t stream_buffer_bytes = std::size_t{256} << 10U;

class MemorySource : public ByteSource {
 public:
  explicit MemorySource(Bytes bytes) : bytes_(bytes) {}

  base::Result<Bytes> fill(std::size_t /*wanted*/) override { return bytes_.subspan(position_); }
  void consume(std::size_t size) override { position_ += std::min(size, bytes_.size() - position_); }
  base::Status skip(std::uint64_t size) override {
    position_ += static_cast<std::size_t>(std::min<std::uint64_t>(size, bytes_.size() - position_));
    return base::ok();
  }
  [[nodiscard]] Progress progress() const override {
    return {static_cast<std::int64_t>(position_), static_cast<std::int64_t>(bytes_.size())};
  }

 private:
  Bytes bytes_;
  std::size_t position_ = 0;
};

class StreamSource : public ByteSource {
 public:
  StreamSource(std::unique_ptr<Input> input, std::optional<std::int64_t> total_bytes)
      : input_(std::move(input)), total_bytes_(total_bytes), buffer_(stream_buffer_bytes) {}

  base::Result<Bytes> fill(std::size_t wanted) override {
    while (end_ - begin_ < wanted && !ended_) {
      make_room(wanted);
      const base::Result<std::size_t> got = input_->read(std::span(buffer_).subspan(end_));
      if (!got) {
        return got.error();
      }
      end_ += *got;
      ended_ = *got == 0;
    }
    return Bytes(buffer_).subspan(begin_, end_ - begin_);
  }
  void consume(std::size_t size) override { begin_ += std::min(size, end_ - begin_); }
  base::Status skip(std::uint64_t size) override {
    while (size > 0) {
      const base::Result<Bytes> bytes = fill(1);
      if (!bytes) {
        return bytes.error();
      }
      if (bytes->empty()) {
        break;
      }
      const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(size, bytes->size()));
      consume(part);
      size -= part;
    }
    return base::ok();
  }
  [[nodiscard]] Progress progress() const override { return {input_->stored_bytes(), total_bytes_}; }

 private:
  void make_room(std::size_t wanted) {
    if (begin_ > 0) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    if (buffer_.size() < wanted) {
      buffer_.resize(wanted);
    }
  }

  std::unique_ptr<Input> input_;
  std::optional<std::int64_t> total_bytes_;
  std::vector<std::uint8_t> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<ByteSource> memory_source(Bytes bytes) {
  return std::make_unique<MemorySource>(bytes);
}

std::unique_ptr<ByteSource> stream_source(std::unique_ptr<Input> input, std::optional<std::int64_t> total_bytes) {
  return std::make_unique<StreamSource>(std::move(input), total_bytes);
}

base::Result<std::unique_ptr<ByteSource>> open_bytes(const std::string& path) {
  base::OwnedFd fd;
  if (path == "-") {
    fd = base::OwnedFd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0));
    if (!fd) {
      return base::errno_error("read", "standard input", errno);
    }
  } else {
    base::Result<base::OwnedFd> opened = base::open_file(path, O_RDONLY);
    if (!opened) {
      return opened.error();
    }
    fd = *std::move(opened);
  }
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return base::errno_error("read", path, errno);
  }
  if (S_ISDIR(status.st_mode)) {
    return base::errno_error("read", path, EISDIR, "Name the capture file itself.");
  }
  const bool regular = S_ISREG(status.st_mode) && ::lseek(fd.get(), 0, SEEK_CUR) == 0;
  const std::string name = path == "-" ? "standard input" : path;
  std::array<std::uint8_t, compression_magic_bytes> magic{};
  std::size_t magic_size = 0;
  while (magic_size < magic.size()) {
    const ssize_t got = ::read(fd.get(), magic.data() + magic_size, magic.size() - magic_size);
    if (got < 0) {
      return base::errno_error("read", name, errno);
    }
    if (got == 0) {
      break;
    }
    magic_size += static_cast<std::size_t>(got);
  }
  const Bytes first = Bytes(magic).first(magic_size);
  const Compression compression = compression_of(first);
  base::Result<std::unique_ptr<Input>> input = decompress(raw_input(std::move(fd), name, first), compression, name);
  if (!input) {
    return input.error();
  }
  const std::optional<std::int64_t> total = regular ? std::optional<std::int64_t>(status.st_size) : std::nullopt;
  return stream_source(*std::move(input), total);
}

}  // namespace stallscope::capture
