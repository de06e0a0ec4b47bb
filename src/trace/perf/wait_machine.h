// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>

#include "trace/napi_budget.h"
#include "trace/perf/records.h"
#include "trace/wait_record.h"

namespace stallscope::trace::perf {

struct WaitMachineOptions {
  std::int64_t threshold_ns = 1'000'000;
  std::int64_t sample_period_ns = 1'000'000;
  NapiBudget budget;
};

/// Finds the waits in the events of perf: what wait.bpf.c does in the kernel, and with the same records as result. Pure but for
/// the two functions it is given.
///
/// Interrupts off are seen otherwise than there: the samples of the CPU clock are one period apart, and a larger gap means that its
/// timer could not be served, unless the CPU was idle at its beginning.
class WaitMachine {
 public:
  /// Takes a trace_wait, trace_sample or trace_release.
  using Emit = std::function<void(const void* record, std::size_t size_bytes)>;
  /// Fills in what the event does not tell of its task: name, cgroup, kernel thread or not.
  using Describe = std::function<void(const Event& event, trace_task& task)>;

  WaitMachine(const WaitMachineOptions& options, Emit emit, Describe describe);

  /// Events of all CPUs in the order of their times.
  void on_event(const Event& event);

 private:
  /// Times of 0: not so.
  struct CpuState {
    std::int64_t sampled_ns = 0;
    std::int64_t switched_ns = 0;
    std::int64_t served_softirq_ns = 0;
    /// The oldest raise of NET_RX not yet served.
    std::int64_t rx_raised_ns = 0;
    std::int64_t rx_entered_ns = 0;
    std::int64_t rx_packets = 0;
    /// The first of NET_RX runs in a row that all ended at the budget.
    std::int64_t squeezed_since_ns = 0;
    std::int64_t squeezed_packets = 0;
    /// Another vector has been running since; and the one that ran longest since the raise.
    std::int64_t vector_entered_ns = 0;
    std::int64_t longest_vector_ns = 0;
    std::int32_t longest_vector = -1;
    std::int64_t ksoftirqd_woken_ns = 0;
    /// The last wait, until its release is known.
    std::uint64_t wait_number = 0;
    std::uint64_t release_number = 0;
    std::int64_t release_until_ns = 0;
  };

  void on_clock(CpuState& cpu, const Event& event);
  void on_entry(CpuState& cpu, const Event& event);
  void on_exit(CpuState& cpu, const Event& event);
  void on_net_rx_exit(CpuState& cpu, const Event& event);
  void on_wakeup(CpuState& cpu, const Event& event);
  void on_switch(CpuState& cpu, const Event& event);
  void on_loss(CpuState& cpu);
  [[nodiscard]] bool something_waits(const CpuState& cpu, std::int64_t now_ns) const;

  void emit_wait(CpuState& cpu, trace_wait& wait, const Event& event);
  void emit_release(const CpuState& cpu, std::uint32_t cpu_number);
  void describe(const Event& event, trace_task& task) const;

  WaitMachineOptions options_;
  Emit emit_;
  Describe describe_;
  std::map<std::uint32_t, CpuState> cpus_;
  /// When a NAPI thread became runnable, by thread: another CPU may wake it.
  std::map<std::int64_t, std::int64_t> napi_woken_ns_;
};

}  // namespace stallscope::trace::perf
