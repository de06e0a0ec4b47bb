// SPDX-License-Identifier: Apache-2.0
#include "trace/perf/wait_machine.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace stallscope::trace::perf {
namespace {

constexpr std::int64_t net_rx = 3;
/// After a wait, a NET_RX run that begins within this time is the one that releases what had waited.
constexpr std::int64_t release_window_ns = 1'000'000;
/// More threads than have ever been seen waiting at once; bounds memory.
constexpr std::size_t woken_limit = 4096;

/// ksoftirqd/CPU (kernel/softirq.c) and napi/DEVICE-ID (net/core/dev.c, Linux 5.12, commit 29863d41bb6e).
trace_thread thread_kind(std::string_view comm) {
  if (comm.starts_with("ksoftirqd/")) {
    return TRACE_THREAD_KSOFTIRQD;
  }
  return comm.starts_with("napi/") ? TRACE_THREAD_NAPI : TRACE_THREAD_OTHER;
}

__u64 as_unsigned(std::int64_t value) {
  return static_cast<__u64>(std::max<std::int64_t>(value, 0));
}

trace_wait wait_of(trace_kind kind, std::int64_t start_ns, const Event& event) {
  trace_wait wait{};
  wait.kind = kind;
  wait.cpu = event.cpu;
  wait.earliest_start_ns = as_unsigned(start_ns);
  wait.latest_start_ns = as_unsigned(start_ns);
  wait.end_ns = as_unsigned(event.time_ns);
  wait.vector = -1;
  return wait;
}

}  // namespace

WaitMachine::WaitMachine(const WaitMachineOptions& options, Emit emit, Describe describe)
    : options_(options), emit_(std::move(emit)), describe_(std::move(describe)) {}

void WaitMachine::on_event(const Event& event) {
  CpuState& cpu = cpus_[event.cpu];
  switch (event.kind) {
    case EventKind::clock:
      on_clock(cpu, event);
      break;
    case EventKind::softirq_raise:
      // Keep the oldest: each later raise would hide how long the first has waited.
      if (event.value == net_rx && cpu.rx_raised_ns == 0) {
        cpu.rx_raised_ns = event.time_ns;
        cpu.longest_vector_ns = 0;
      }
      break;
    case EventKind::softirq_entry:
      on_entry(cpu, event);
      break;
    case EventKind::softirq_exit:
      on_exit(cpu, event);
      break;
    case EventKind::napi_poll:
      cpu.rx_packets += std::max<std::int64_t>(event.value, 0);
      break;
    case EventKind::thread_wakeup:
      on_wakeup(cpu, event);
      break;
    case EventKind::thread_switch:
      on_switch(cpu, event);
      break;
    case EventKind::lost:
      on_loss(cpu);
      break;
    case EventKind::clock_paused:
      cpu.sampled_ns = 0;
      break;
    case EventKind::renamed:
      break;
  }
}

void WaitMachine::on_clock(CpuState& cpu, const Event& event) {
  const std::int64_t sampled_ns = std::exchange(cpu.sampled_ns, event.time_ns);
  if (sampled_ns != 0) {
    // The idle task found after a gap may have slept through it. Of others a softirq says nothing: the interrupt that ends a
    // stretch with interrupts off may be one that raises it, before the timer.
    const std::int64_t awake_ns = event.tid == 0 ? cpu.served_softirq_ns : 0;
    const std::int64_t alive_ns = std::max({sampled_ns, cpu.switched_ns, awake_ns});
    // The timer keeps to a fixed grid, so the last sample came no earlier than its moment, and the next is due within a period.
    const std::int64_t due_ns = std::max(alive_ns, sampled_ns + options_.sample_period_ns);
    if (event.time_ns - due_ns >= options_.threshold_ns) {
      trace_wait wait = wait_of(TRACE_IRQS_OFF, alive_ns, event);
      wait.latest_start_ns = as_unsigned(due_ns);
      emit_wait(cpu, wait, event);
    }
  }
  if (!something_waits(cpu, event.time_ns)) {
    return;
  }
  trace_sample sample{};
  sample.kind = TRACE_SAMPLE;
  sample.cpu = event.cpu;
  sample.time_ns = as_unsigned(event.time_ns);
  sample.preempt_count = -1;
  describe(event, sample.task);
  emit_(&sample, sizeof(sample));
}

/// Half the threshold, so that a wait just above it has a sample.
bool WaitMachine::something_waits(const CpuState& cpu, std::int64_t now_ns) const {
  const auto begins = {cpu.rx_raised_ns, cpu.rx_entered_ns, cpu.squeezed_since_ns, cpu.vector_entered_ns, cpu.ksoftirqd_woken_ns};
  return std::any_of(begins.begin(), begins.end(),
                     [&](std::int64_t since_ns) { return since_ns != 0 && now_ns - since_ns > options_.threshold_ns / 2; });
}

void WaitMachine::on_entry(CpuState& cpu, const Event& event) {
  cpu.served_softirq_ns = event.time_ns;
  if (event.value != net_rx) {
    cpu.vector_entered_ns = event.time_ns;
    return;
  }
  const std::int64_t raised_ns = std::exchange(cpu.rx_raised_ns, 0);
  cpu.rx_entered_ns = event.time_ns;
  cpu.rx_packets = 0;
  if (raised_ns == 0 || event.time_ns - raised_ns < options_.threshold_ns) {
    return;
  }
  trace_wait wait = wait_of(TRACE_SOFTIRQ_LATE, raised_ns, event);
  if (cpu.longest_vector_ns > 0) {
    wait.vector = cpu.longest_vector;
    wait.vector_ns = as_unsigned(cpu.longest_vector_ns);
  }
  emit_wait(cpu, wait, event);
}

void WaitMachine::on_exit(CpuState& cpu, const Event& event) {
  if (event.value == net_rx) {
    on_net_rx_exit(cpu, event);
    return;
  }
  const std::int64_t entered_ns = std::exchange(cpu.vector_entered_ns, 0);
  if (cpu.rx_raised_ns != 0 && entered_ns != 0 && event.time_ns - entered_ns > cpu.longest_vector_ns) {
    cpu.longest_vector_ns = event.time_ns - entered_ns;
    cpu.longest_vector = static_cast<std::int32_t>(event.value);
  }
}

void WaitMachine::on_net_rx_exit(CpuState& cpu, const Event& event) {
  const std::int64_t entered_ns = std::exchange(cpu.rx_entered_ns, 0);
  cpu.squeezed_packets += cpu.rx_packets;
  if (cpu.rx_raised_ns != 0) {
    // Raised again while it ran: what came until now was this run's to serve, up to its budget.
    cpu.rx_raised_ns = event.time_ns;
    const bool at_budget =
        entered_ns != 0 && (cpu.rx_packets >= options_.budget.packets || event.time_ns - entered_ns >= options_.budget.duration_ns);
    if (cpu.squeezed_since_ns == 0 && at_budget) {
      cpu.squeezed_since_ns = entered_ns;
    }
    if (cpu.squeezed_since_ns == entered_ns) {
      cpu.squeezed_packets = cpu.rx_packets;
    }
  } else if (const std::int64_t since_ns = std::exchange(cpu.squeezed_since_ns, 0);
             since_ns != 0 && event.time_ns - since_ns >= options_.threshold_ns) {
    trace_wait wait = wait_of(TRACE_BUDGET, since_ns, event);
    emit_wait(cpu, wait, event);
    cpu.rx_packets = cpu.squeezed_packets;  // of all these runs: the release that is reported next
  }
  if (cpu.release_number != 0) {
    if (entered_ns != 0 && entered_ns < cpu.release_until_ns) {
      emit_release(cpu, event.cpu);
    }
    cpu.release_number = 0;
  }
  if (entered_ns == 0 || event.time_ns - entered_ns < options_.threshold_ns) {
    return;
  }
  trace_wait wait = wait_of(TRACE_NET_RX_LONG, entered_ns, event);
  emit_wait(cpu, wait, event);
  // Its packets are known: they are the ones it delivered.
  emit_release(cpu, event.cpu);
  cpu.release_number = 0;
}

void WaitMachine::on_wakeup(CpuState& cpu, const Event& event) {
  switch (thread_kind(event.comm)) {
    case TRACE_THREAD_KSOFTIRQD:  // only its own CPU wakes it
      if (cpu.ksoftirqd_woken_ns == 0) {
        cpu.ksoftirqd_woken_ns = event.time_ns;
      }
      break;
    case TRACE_THREAD_NAPI:
      if (napi_woken_ns_.size() < woken_limit) {
        napi_woken_ns_.try_emplace(event.value, event.time_ns);
      }
      break;
    case TRACE_THREAD_OTHER:
      break;
  }
}

void WaitMachine::on_switch(CpuState& cpu, const Event& event) {
  cpu.switched_ns = event.time_ns;
  const trace_thread thread = thread_kind(event.comm);
  std::int64_t woken_ns = 0;
  if (thread == TRACE_THREAD_KSOFTIRQD) {
    woken_ns = std::exchange(cpu.ksoftirqd_woken_ns, 0);
  } else if (const auto woken = napi_woken_ns_.find(event.value); thread == TRACE_THREAD_NAPI && woken != napi_woken_ns_.end()) {
    woken_ns = woken->second;
    napi_woken_ns_.erase(woken);
  }
  if (woken_ns == 0 || event.time_ns - woken_ns < options_.threshold_ns) {
    return;
  }
  trace_wait wait = wait_of(TRACE_THREAD_LATE, woken_ns, event);
  wait.vector = thread;
  emit_wait(cpu, wait, event);
}

/// What is missing may have been the end of anything: nothing that had begun may be taken to last.
void WaitMachine::on_loss(CpuState& cpu) {
  const std::uint64_t wait_number = cpu.wait_number;
  cpu = {};
  cpu.wait_number = wait_number;
  napi_woken_ns_.clear();
}

void WaitMachine::emit_wait(CpuState& cpu, trace_wait& wait, const Event& event) {
  wait.number = ++cpu.wait_number;
  cpu.release_number = wait.number;
  cpu.release_until_ns = event.time_ns + release_window_ns;
  describe(event, wait.task);
  emit_(&wait, sizeof(wait));
}

void WaitMachine::emit_release(const CpuState& cpu, std::uint32_t cpu_number) {
  trace_release release{};
  release.kind = TRACE_RELEASE;
  release.cpu = cpu_number;
  release.number = cpu.release_number;
  release.packet_count = as_unsigned(cpu.rx_packets);
  emit_(&release, sizeof(release));
}

void WaitMachine::describe(const Event& event, trace_task& task) const {
  // A thread that exits is without a number at its end: perf says -1 (perf_event_pid_type, kernel/events/core.c).
  task.pid = std::max(event.tid, 0);
  task.tgid = std::max(event.tgid, 0);
  task.syscall_number = -1;
  task.flags = TRACE_TASK_CALL_BY_STACK;
  if (event.tid < 0) {
    task.flags |= TRACE_TASK_EXITING;
  }
  if (event.in_user_space) {
    task.flags |= TRACE_TASK_IN_USER_SPACE;
  }
  const std::size_t frame_count = std::min<std::size_t>(event.stack.size(), TRACE_STACK_FRAMES);
  std::copy_n(event.stack.begin(), frame_count, std::begin(task.stack));
  task.stack_bytes = static_cast<__s32>(frame_count * sizeof(std::uint64_t));
  describe_(event, task);
}

}  // namespace stallscope::trace::perf
