// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>

#include <cstdint>
#include <optional>

#include "base/result.h"

namespace stallscope::probe {

/// Tunes the calling thread for sending on time, and restores it at the end of its life: timer slack of 1 ns, real-time priority
/// where that is permitted (CAP_SYS_NICE), and the CPUs it may run on. To be made and destroyed on the same thread.
class SenderThread {
 public:
  /// Pins the thread to `cpu` if one is given; the error names a CPU that does not exist or is not allowed.
  [[nodiscard]] static base::Result<SenderThread> tune(std::optional<std::int32_t> cpu);

  SenderThread(SenderThread&& other) noexcept;
  SenderThread& operator=(SenderThread&&) = delete;
  SenderThread(const SenderThread&) = delete;
  SenderThread& operator=(const SenderThread&) = delete;
  ~SenderThread();

  /// Whether other tasks cannot delay the thread. Without that, its lateness on a busy machine is the scheduler's.
  [[nodiscard]] bool realtime() const { return realtime_; }

  /// Leaves `cpu` to whatever delayed us there. When that leaves no CPU, those avoided before are allowed again. Returns whether
  /// the thread's CPUs changed: not when it is pinned, and not when it has no other CPU.
  bool avoid(std::int32_t cpu);

 private:
  SenderThread() = default;

  cpu_set_t original_{};
  cpu_set_t allowed_{};
  int original_policy_ = SCHED_OTHER;
  sched_param original_priority_{};
  int original_timer_slack_ns_ = 0;
  bool pinned_ = false;
  bool realtime_ = false;
  bool owner_ = true;
};

}  // namespace stallscope::probe
