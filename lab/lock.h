// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/owned_fd.h"
#include "base/result.h"

namespace stallscope::lab {

/// Held by the one lab process that makes or removes things. The file goes when the lock does.
class LabLock {
 public:
  /// Does not wait: the error says which process holds it. A record lock of fcntl(2) rather than flock(2): it names its holder,
  /// and a child does not inherit it, so that it never outlives a killed lab.
  [[nodiscard]] static base::Result<LabLock> take(const std::string& path = "/run/stallscope-lab.lock");
  ~LabLock();
  LabLock(LabLock&&) noexcept = default;
  LabLock& operator=(LabLock&&) = delete;
  LabLock(const LabLock&) = delete;
  LabLock& operator=(const LabLock&) = delete;

 private:
  LabLock(std::string path, base::OwnedFd file) : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  base::OwnedFd file_;
};

}  // namespace stallscope::lab
