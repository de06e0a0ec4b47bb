// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "lab/progress.h"

// For what a fault changes that neither ends with its process nor lies in a namespace that does: a sysctl, a network rule, a mount.
// How to undo it is written down before it is done, so that a later lab can after this one was killed.
namespace stallscope::lab {

/// Where the records are, one file each, for root only; it goes with the last of them.
inline constexpr std::string_view undo_directory = "/run/stallscope-lab";

/// Owns one change and undoes it.
class Undo {
 public:
  /// Writes `text` to a control file such as /proc/sys/kernel/...; the undo writes back what is in it now.
  [[nodiscard]] static base::Result<Undo> of_writing(const std::string& path, std::string_view text,
                                                     const std::string& directory = std::string(undo_directory));
  /// For a change about to be made: the undo runs a program as host::run_program does. Should it fail after a kill, that is told
  /// and forgotten, since the change may never have been made.
  [[nodiscard]] static base::Result<Undo> by_running(const std::vector<std::string>& arguments,
                                                     const std::string& directory = std::string(undo_directory));
  ~Undo();
  Undo(Undo&& other) noexcept : record_path_(std::exchange(other.record_path_, {})) {}
  Undo& operator=(Undo&&) = delete;
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;

  /// Undoes it. Once; later calls do nothing.
  [[nodiscard]] base::Status now();

 private:
  explicit Undo(std::string record_path) : record_path_(std::move(record_path)) {}

  std::string record_path_;
};

/// Undoes, last first, what a killed run left; says whether there was anything.
[[nodiscard]] base::Result<bool> undo_leftovers(const Progress& progress,
                                                const std::string& directory = std::string(undo_directory));

}  // namespace stallscope::lab
