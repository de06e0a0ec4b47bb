// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/owned_fd.h"
#include "base/result.h"
#include "capture/bytes.h"

namespace stallscope::capture {

/// Something that is read from front to back.
class Input {
 public:
  Input() = default;
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  Input(Input&&) = delete;
  Input& operator=(Input&&) = delete;
  virtual ~Input() = default;

  /// Fills the front of `buffer` and returns how much; 0 at the end. Blocks for as long as nothing has come.
  [[nodiscard]] virtual base::Result<std::size_t> read(std::span<std::uint8_t> buffer) = 0;
  /// Bytes taken from what is stored, before any decompression.
  [[nodiscard]] virtual std::int64_t stored_bytes() const = 0;
};

/// Reads a descriptor, after bytes that were already taken from it. A signal ends a read that blocks as if that were the end, so
/// that Ctrl-C stops a silent pipe.
[[nodiscard]] std::unique_ptr<Input> raw_input(base::OwnedFd fd, std::string name, Bytes first);
/// Any bytes in memory.
[[nodiscard]] std::unique_ptr<Input> memory_input(Bytes bytes);

enum class Compression : std::uint8_t { none, gzip, zstd };
/// Enough to tell them apart (RFC 1952 section 2.3.1, RFC 8878 section 3.1.1).
inline constexpr std::size_t compression_magic_bytes = 4;
[[nodiscard]] Compression compression_of(Bytes start);

/// `input` decompressed while it is read, several members or frames one after the other; itself where there is no compression.
/// Holds a window of at most 128 MiB (zstd's own limit), whatever the data claim. What is cut off ends early, what is damaged is an
/// error.
[[nodiscard]] base::Result<std::unique_ptr<Input>> decompress(std::unique_ptr<Input> input, Compression compression,
                                                              std::string name);

}  // namespace stallscope::capture
