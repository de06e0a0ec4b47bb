// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "capture/decompress.h"
#include "capture/packet.h"

namespace stallscope::capture {

/// The bytes of a capture, in order, whatever they are stored in.
class ByteSource {
 public:
  ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;
  ByteSource(ByteSource&&) = delete;
  ByteSource& operator=(ByteSource&&) = delete;
  virtual ~ByteSource() = default;

  /// The bytes from the present position on, at least `wanted` of them; fewer only where fewer are left. Valid until the next call
  /// of fill() or skip(). Blocks while a pipe has none. An end in the middle of compressed data is an end like any other.
  [[nodiscard]] virtual base::Result<Bytes> fill(std::size_t wanted) = 0;
  /// Passes over bytes that fill() returned.
  virtual void consume(std::size_t size) = 0;
  /// Passes over any number of bytes without holding them, at most to the end.
  [[nodiscard]] virtual base::Status skip(std::uint64_t size) = 0;
  [[nodiscard]] virtual Progress progress() const = 0;
};

/// Of an input, through a buffer that grows only to what is asked for. `total_bytes`: what is stored, where that is known.
[[nodiscard]] std::unique_ptr<ByteSource> stream_source(std::unique_ptr<Input> input, std::optional<std::int64_t> total_bytes);
/// Of memory that outlives it.
[[nodiscard]] std::unique_ptr<ByteSource> memory_source(Bytes bytes);
/// "-" is standard input. Compression (gzip, zstd) is recognised by the first bytes, not by the name.
[[nodiscard]] base::Result<std::unique_ptr<ByteSource>> open_bytes(const std::string& path);

}  // namespace stallscope::capture
