// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"

namespace stallscope::base {

/// A file that is there whole or not at all: written beside its place under another name, and put there by commit(). What was there
/// before stays until then. A path that is no regular file (a pipe, /dev/stdout) is written directly.
class ReplacingFile {
 public:
  [[nodiscard]] static Result<ReplacingFile> create(const std::string& path);
  ReplacingFile(ReplacingFile&& other) noexcept;
  ReplacingFile& operator=(ReplacingFile&&) = delete;
  ReplacingFile(const ReplacingFile&) = delete;
  ReplacingFile& operator=(const ReplacingFile&) = delete;
  /// Without commit() nothing is left of it.
  ~ReplacingFile();

  /// Buffered.
  [[nodiscard]] Status write(std::span<const std::uint8_t> bytes);
  [[nodiscard]] Status write(std::string_view text);
  /// On the disk, and in its place. To be called once, last.
  [[nodiscard]] Status commit();

 private:
  ReplacingFile(std::string path, std::string temporary, OwnedFd fd);
  [[nodiscard]] Status flush();

  std::string path_;
  /// Empty: written directly, or in its place already.
  std::string temporary_;
  OwnedFd fd_;
  std::vector<std::uint8_t> buffer_;
};

}  // namespace stallscope::base
