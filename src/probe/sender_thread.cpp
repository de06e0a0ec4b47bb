// SPDX-License-Identifier: Apache-2.0
#include "probe/sender_thread.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <utility>

namespace stallscope::probe {
namespace {

/// The cpu_set_t of the C library holds this many; machines with more are served by their first 1024 CPUs.
constexpr std::int32_t cpu_limit = CPU_SETSIZE;

bool set_cpus(const cpu_set_t& cpus) {
  return sched_setaffinity(0, sizeof cpus, &cpus) == 0;
}

bool contains(const cpu_set_t& cpus, std::int32_t cpu) {
  return cpu >= 0 && cpu < cpu_limit && CPU_ISSET(static_cast<std::size_t>(cpu), &cpus);
}

cpu_set_t only(std::int32_t cpu) {
  cpu_set_t cpus{};
  CPU_SET(static_cast<std::size_t>(cpu), &cpus);
  return cpus;
}

void remove(cpu_set_t& cpus, std::int32_t cpu) {
  CPU_CLR(static_cast<std::size_t>(cpu), &cpus);
}

}  // namespace

base::Result<SenderThread> SenderThread::tune(std::optional<std::int32_t> cpu, Sleep sleep) {
  SenderThread thread;
  if (sched_getaffinity(0, sizeof thread.original_, &thread.original_) != 0) {
    return base::errno_error("read", "the CPUs this thread may use", errno);
  }
  thread.allowed_ = thread.original_;
  thread.original_policy_ = sched_getscheduler(0);
  sched_getparam(0, &thread.original_priority_);
  thread.original_timer_slack_ns_ = prctl(PR_GET_TIMERSLACK);
  thread.original_nice_ = getpriority(PRIO_PROCESS, 0);
  if (cpu) {
    if (!contains(thread.allowed_, *cpu) || !set_cpus(only(*cpu))) {
      return base::Error{"probe from", fmt::format("CPU {}", *cpu),
                         "this process may not use that CPU, or there is none of that number",
                         "See the allowed CPUs with: taskset -pc $$"};
    }
    thread.pinned_ = true;
  }
  constexpr unsigned long shortest_slack_ns = 1;  // 0 would mean the default, 50 us
  static_cast<void>(prctl(PR_SET_TIMERSLACK, shortest_slack_ns));
  if (sleep == Sleep::never) {
    constexpr int highest_nice = -20;
    thread.preferred_ = setpriority(PRIO_PROCESS, 0, highest_nice) == 0;
    return thread;
  }
  // The lowest real-time priority is above every ordinary task and below everything that was made real-time on purpose.
  const sched_param lowest{.sched_priority = 1};
  thread.realtime_ = sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &lowest) == 0;
  thread.preferred_ = thread.realtime_;
  return thread;
}

SenderThread::SenderThread(SenderThread&& other) noexcept
    : original_(other.original_),
      allowed_(other.allowed_),
      original_policy_(other.original_policy_),
      original_priority_(other.original_priority_),
      original_timer_slack_ns_(other.original_timer_slack_ns_),
      pinned_(other.pinned_),
      original_nice_(other.original_nice_),
      realtime_(other.realtime_),
      preferred_(other.preferred_),
      owner_(std::exchange(other.owner_, false)) {}

SenderThread::~SenderThread() {
  if (!owner_) {
    return;
  }
  static_cast<void>(sched_setscheduler(0, original_policy_, &original_priority_));
  // Of this thread: Linux keeps it for each.
  static_cast<void>(setpriority(PRIO_PROCESS, 0, original_nice_));
  static_cast<void>(prctl(PR_SET_TIMERSLACK, static_cast<unsigned long>(original_timer_slack_ns_)));
  static_cast<void>(set_cpus(original_));
}

bool SenderThread::avoid(std::int32_t cpu) {
  if (pinned_ || !contains(original_, cpu)) {
    return false;
  }
  cpu_set_t remaining = allowed_;
  remove(remaining, cpu);
  if (CPU_COUNT(&remaining) == 0) {
    remaining = original_;
    remove(remaining, cpu);
  }
  if (CPU_COUNT(&remaining) == 0 || CPU_EQUAL(&remaining, &allowed_) || !set_cpus(remaining)) {
    return false;
  }
  allowed_ = remaining;
  return true;
}

}  // namespace stallscope::probe
