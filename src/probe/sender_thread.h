// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>

#include <cstdint>
#include <optional>

#include "base/result.h"

namespace stallscope::probe {

/// Whether a thread leaves its CPU to others while it waits for the next probe.
enum class Sleep : std::uint8_t { between_probes, never };

/// Tunes the calling thread for sending on time, and restores it at the end of its life: timer slack of 1 ns, priority where that
/// is permitted (CAP_SYS_NICE), and the CPUs it may run on. To be made and destroyed on the same thread.
///
/// The priority is real-time, or, of a thread that never sleeps, the highest ordinary one: the kernel takes the CPU from a
/// real-time thread that leaves nothing to ordinary ones for 50 ms of every second (sched_rt_runtime_us; since 6.12 the fair
/// server, kernel/sched/deadline.c), where an ordinary one shares it for a few microseconds at a time.
class SenderThread {
 public:
  /// Pins the thread to `cpu` if one is given; the error names a CPU that does not exist or is not allowed.
  [[nodiscard]] static base::Result<SenderThread> tune(std::optional<std::int32_t> cpu, Sleep sleep);

  SenderThread(SenderThread&& other) noexcept;
  SenderThread& operator=(SenderThread&&) = delete;
  SenderThread(const SenderThread&) = delete;
  SenderThread& operator=(const SenderThread&) = delete;
  ~SenderThread();

  /// Whether other tasks cannot delay the thread. Without that, its lateness on a busy machine is the scheduler's.
  [[nodiscard]] bool realtime() const { return realtime_; }
  /// Whether it has the priority that it asked for.
  [[nodiscard]] bool preferred() const { return preferred_; }

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
  int original_nice_ = 0;
  bool realtime_ = false;
  bool preferred_ = false;
  bool owner_ = true;
};

}  // namespace stallscope::probe
