// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace stallscope::cli {

/// While it lives, SIGINT and SIGTERM ask for an orderly end instead of ending the process; a second one ends it at once. One at a
/// time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  InterruptGuard(InterruptGuard&&) = delete;
  InterruptGuard& operator=(InterruptGuard&&) = delete;

  [[nodiscard]] static bool requested();
};

}  // namespace stallscope::cli
