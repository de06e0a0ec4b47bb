// SPDX-License-Identifier: Apache-2.0
#include "capture/decompress.h"

#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

namespace stallscope::capture {
namespace {

constexpr std::size_t stored_chunk_bytes = std::size_t{256} << 10U;
/// windowBits of inflateInit2: the largest window, and a gzip header (zlib.h).
constexpr int gzip_window_bits = 15 + 16;

class FdInput : public Input {
 public:
  FdInput(base::OwnedFd fd, std::string name, Bytes first)
      : fd_(std::move(fd)), name_(std::move(name)), first_(first.begin(), first.end()) {}

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    if (first_taken_ < first_.size()) {
      const std::size_t part = std::min(buffer.size(), first_.size() - first_taken_);
      std::copy_n(first_.begin() + static_cast<std::ptrdiff_t>(first_taken_), part, buffer.begin());
      first_taken_ += part;
      stored_bytes_ += static_cast<std::int64_t>(part);
      return part;
    }
    const ssize_t got = ::read(fd_.get(), buffer.data(), buffer.size());
    if (got < 0 && errno != EINTR) {
      return base::errno_error("read", name_, errno);
    }
    stored_bytes_ += std::max<ssize_t>(got, 0);
    return static_cast<std::size_t>(std::max<ssize_t>(got, 0));
  }
  [[nodiscard]] std::int64_t stored_bytes() const override { return stored_bytes_; }

 private:
  base::OwnedFd fd_;
  std::string name_;
  std::vector<std::uint8_t> first_;
  std::size_t first_taken_ = 0;
  std::int64_t stored_bytes_ = 0;
};

class MemoryInput : public Input {
 public:
  explicit MemoryInput(Bytes bytes) : bytes_(bytes) {}
  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    const std::size_t part = std::min(buffer.size(), bytes_.size() - taken_);
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(taken_), part, buffer.begin());
    taken_ += part;
    return part;
  }
  [[nodiscard]] std::int64_t stored_bytes() const override { return static_cast<std::int64_t>(taken_); }

 private:
  Bytes bytes_;
  std::size_t taken_ = 0;
};

/// What decompressors have in common: a piece of stored bytes, renewed when it is used up.
class Stored {
 public:
  explicit Stored(std::unique_ptr<Input> input) : input_(std::move(input)), chunk_(stored_chunk_bytes) {}

  /// The bytes not used yet; empty at the end.
  base::Result<Bytes> get() {
    if (begin_ == end_) {
      const base::Result<std::size_t> got = input_->read(chunk_);
      if (!got) {
        return got.error();
      }
      begin_ = 0;
      end_ = *got;
    }
    return Bytes(chunk_).subspan(begin_, end_ - begin_);
  }
  void used(std::size_t size) { begin_ += size; }
  [[nodiscard]] std::int64_t bytes() const { return input_->stored_bytes(); }

 private:
  std::unique_ptr<Input> input_;
  std::vector<std::uint8_t> chunk_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

class GzipInput : public Input {
 public:
  GzipInput(std::unique_ptr<Input> input, std::string name) : stored_(std::move(input)), name_(std::move(name)) {}
  GzipInput(const GzipInput&) = delete;
  GzipInput& operator=(const GzipInput&) = delete;
  GzipInput(GzipInput&&) = delete;
  GzipInput& operator=(GzipInput&&) = delete;
  ~GzipInput() override { ::inflateEnd(&stream_); }

  [[nodiscard]] bool start() { return ::inflateInit2(&stream_, gzip_window_bits) == Z_OK; }

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    while (true) {
      const base::Result<Bytes> input = stored_.get();
      if (!input) {
        return input.error();
      }
      if (input->empty()) {
        return std::size_t{0};
      }
      if (member_ended_) {
        // Padding with zeros after the last member is common, and allowed by gzip(1).
        if (input->front() == 0) {
          stored_.used(1);
          continue;
        }
        ::inflateReset(&stream_);
        member_ended_ = false;
      }
      // zlib does not write through next_in; its type lacks const unless ZLIB_CONST is defined.
      stream_.next_in = const_cast<Bytef*>(input->data());  // NOLINT(cppcoreguidelines-pro-type-const-cast)
      stream_.avail_in = static_cast<uInt>(input->size());
      stream_.next_out = buffer.data();
      stream_.avail_out = static_cast<uInt>(std::min<std::size_t>(buffer.size(), std::size_t{1} << 30U));
      const uInt room = stream_.avail_out;
      const int result = ::inflate(&stream_, Z_NO_FLUSH);
      stored_.used(input->size() - stream_.avail_in);
      member_ended_ = result == Z_STREAM_END;
      if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
        return base::Error{"decompress", name_, stream_.msg == nullptr ? "the gzip data are damaged" : stream_.msg,
                           "Try: gzip -t FILE"};
      }
      if (room != stream_.avail_out) {
        return static_cast<std::size_t>(room - stream_.avail_out);
      }
    }
  }
  [[nodiscard]] std::int64_t stored_bytes() const override { return stored_.bytes(); }

 private:
  Stored stored_;
  std::string name_;
  z_stream stream_{};
  bool member_ended_ = false;
};

class ZstdInput : public Input {
 public:
  ZstdInput(std::unique_ptr<Input> input, std::string name) : stored_(std::move(input)), name_(std::move(name)) {}

  [[nodiscard]] bool start() { return stream_ != nullptr; }

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    while (true) {
      const base::Result<Bytes> input = stored_.get();
      if (!input) {
        return input.error();
      }
      ZSTD_inBuffer in{input->data(), input->size(), 0};
      ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
      const std::size_t result = ::ZSTD_decompressStream(stream_.get(), &out, &in);
      stored_.used(in.pos);
      if (::ZSTD_isError(result) != 0) {
        return base::Error{"decompress", name_, ::ZSTD_getErrorName(result), "Try: zstd -t FILE"};
      }
      if (out.pos > 0) {
        return out.pos;
      }
      if (input->empty()) {
        return std::size_t{0};
      }
    }
  }
  [[nodiscard]] std::int64_t stored_bytes() const override { return stored_.bytes(); }

 private:
  struct Free {
    void operator()(ZSTD_DStream* stream) const { ::ZSTD_freeDStream(stream); }
  };
  Stored stored_;
  std::string name_;
  std::unique_ptr<ZSTD_DStream, Free> stream_{::ZSTD_createDStream()};
};

template <typename Decompressor>
base::Result<std::unique_ptr<Input>> start(std::unique_ptr<Input> input, std::string name) {
  auto decompressor = std::make_unique<Decompressor>(std::move(input), name);
  if (!decompressor->start()) {
    return base::errno_error("decompress", std::move(name), ENOMEM);
  }
  return std::unique_ptr<Input>(std::move(decompressor));
}

}  // namespace

std::unique_ptr<Input> raw_input(base::OwnedFd fd, std::string name, Bytes first) {
  return std::make_unique<FdInput>(std::move(fd), std::move(name), first);
}

std::unique_ptr<Input> memory_input(Bytes bytes) {
  return std::make_unique<MemoryInput>(bytes);
}

Compression compression_of(Bytes start) {
  constexpr std::uint8_t gzip_1 = 0x1f;
  constexpr std::uint8_t gzip_2 = 0x8b;
  constexpr std::uint32_t zstd_magic = 0xfd2fb528;
  if (start.size() >= 2 && start[0] == gzip_1 && start[1] == gzip_2) {
    return Compression::gzip;
  }
  if (start.size() >= compression_magic_bytes && load_be<std::uint32_t>(start.data()) == swapped(zstd_magic)) {
    return Compression::zstd;
  }
  return Compression::none;
}

base::Result<std::unique_ptr<Input>> decompress(std::unique_ptr<Input> input, Compression compression, std::string name) {
  switch (compression) {
    case Compression::gzip:
      return start<GzipInput>(std::move(input), std::move(name));
    case Compression::zstd:
      return start<ZstdInput>(std::move(input), std::move(name));
    case Compression::none:
      break;
  }
  return input;
}

}  // namespace stallscope::capture
