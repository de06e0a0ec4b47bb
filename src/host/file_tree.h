// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace stallscope::host {

/// Where the files of /proc, /sys and /boot are read from: this machine, or a directory that holds those of another (the mounts of
/// the node inside a container, a copy in a support archive, the samples of a test).
class FileTree {
 public:
  /// This machine.
  FileTree() = default;
  /// The machine whose files lie under `root`; an empty root is this machine.
  explicit FileTree(std::string root) : root_(std::move(root)) {}

  /// Whether this is the machine we run on, so that the kernel can be asked by system calls as well.
  [[nodiscard]] bool is_live() const { return root_.empty(); }
  /// `absolute` starts with a slash.
  [[nodiscard]] std::string path(std::string_view absolute) const { return root_ + std::string(absolute); }
  [[nodiscard]] base::Result<std::string> read(std::string_view absolute) const;
  /// The first line, without its end. Nothing where the file is missing or cannot be read.
  [[nodiscard]] std::optional<std::string> read_line(std::string_view absolute) const;
  /// Nothing where a directory on the way may not be searched.
  [[nodiscard]] std::optional<bool> exists(std::string_view absolute) const;

 private:
  std::string root_;
};

}  // namespace stallscope::host
