// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>

#include <cstdint>
#include <optional>

#include "base/result.h"

namespace stallscope::probe {

/// Tunes the calling thread for sending on time, and restores it at the end of its life: timer slack of 1 ns, and the CPUs it may
/// run on. To be made and destroyed on the same thread.
class SenderThread {
 public:
  /// Pins the thread to `cpu` if one is given; the error names a CPU that does not exist or is not allowed.
  [[nodiscard]] static base::Result<SenderThread> tune(std::optional<std::int32_t> cpu);

  SenderThread(SenderThread&& other) noexcept;
  SenderThread& operator=(SenderThread&&) = delete;
  SenderThread(const SenderThread&) = delete;
  SenderThread& operator=(const SenderThread&) = delete;
  ~SenderThread();

  /// Leaves `cpu` to whatever delayed us there. When that leaves no CPU, those avoided before are allowed again. Returns whether
  /// the thread's CPUs changed: not when it is pinned, and not when it has no other CPU.
  bool avoid(std::int32_t cpu);

 private:
  SenderThread(const cpu_set_t& allowed, std::int64_t timer_slack_ns, bool pinned);

  cpu_set_t original_;
  cpu_set_t allowed_;
  std::int64_t original_timer_slack_ns_;
  bool pinned_;
  bool owner_ = true;
};

}  // namespace stallscope::probe
