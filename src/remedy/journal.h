// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/process_lock.h"
#include "base/result.h"

namespace stallscope::remedy {

/// One application of an option, as it is written down before it begins.
struct Application {
  std::string option;
  /// Files, cgroups or processes, as the user named them.
  std::vector<std::string> objects;
  /// How to take back what it does; empty: nothing to take back.
  std::string undo;
  std::int64_t realtime_ns = 0;

  friend bool operator==(const Application&, const Application&) = default;
};

/// What was applied on this host since it was started: one JSON object on each line of a file for root only. Whoever holds it is
/// the only one that applies anything.
class Journal {
 public:
  /// Refuses, naming the process, while another holds it.
  [[nodiscard]] static base::Result<Journal> open(const std::string& directory = "/run/stallscope-remedy");

  /// The last application that began and was not ended: its process was killed. Taken from the file when it was opened.
  [[nodiscard]] const std::optional<Application>& unfinished() const { return unfinished_; }
  [[nodiscard]] base::Status begin(const Application& application) const;
  /// `outcome`: one sentence.
  [[nodiscard]] base::Status end(const std::string& outcome) const;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  Journal(std::string path, base::ProcessLock lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  [[nodiscard]] base::Status append(const std::string& line) const;

  std::string path_;
  base::ProcessLock lock_;
  std::optional<Application> unfinished_;
};

}  // namespace stallscope::remedy
