// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/owned_fd.h"
#include "base/result.h"

namespace stallscope::base {

/// Held by the one process of its kind that makes or removes things. The file goes when the lock does.
class ProcessLock {
 public:
  /// Does not wait: the error says which process holds it. `what`: "lab", as in "another lab is at work". A record lock of fcntl(2)
  /// rather than flock(2): it names its holder, and a child does not inherit it, so that it never outlives a killed holder.
  [[nodiscard]] static Result<ProcessLock> take(const std::string& path, std::string_view what);
  ~ProcessLock();
  ProcessLock(ProcessLock&&) noexcept = default;
  ProcessLock& operator=(ProcessLock&&) = delete;
  ProcessLock(const ProcessLock&) = delete;
  ProcessLock& operator=(const ProcessLock&) = delete;

 private:
  ProcessLock(std::string path, OwnedFd file) : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  OwnedFd file_;
};

}  // namespace stallscope::base
