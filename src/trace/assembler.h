// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "base/result.h"
#include "trace/sink.h"
#include "trace/stack.h"
#include "trace/wait_record.h"

namespace stallscope::trace {

/// Turns what the BPF programs send into records: joins a wait with the samples taken during it, with the packets it released and
/// with the steal time, decides its mode, and resolves stacks and paths. Pure but for the sink: tests feed it events.
class WaitAssembler {
 public:
  /// `lookup` and `sink` must outlive the assembler.
  WaitAssembler(SymbolLookup lookup, Sink& sink);

  /// One record as it came from the ring buffer. Records of an unknown kind or size are counted in malformed_count().
  [[nodiscard]] base::Status on_record(const void* record, std::size_t size_bytes);

  /// Writes the waits that are complete, or that ended more than settle_ns before `now_ns` (CLOCK_MONOTONIC).
  [[nodiscard]] base::Status settle(std::int64_t now_ns);
  /// Writes all of them; nothing more is coming.
  [[nodiscard]] base::Status finish();

  /// Nothing counts packets here: that no release follows a wait says nothing.
  void releases_are_not_seen() { counts_packets_ = false; }

  [[nodiscard]] std::int64_t malformed_count() const { return malformed_count_; }

  /// Steal time and released packets follow a wait within milliseconds of its CPU being used again; an idle CPU may take longer.
  static constexpr std::int64_t settle_ns = 500'000'000;

 private:
  struct PendingWait {
    trace_wait event{};
    std::int64_t stolen_ns = -1;
    std::int64_t packets_released = -1;
  };
  struct CpuState {
    std::deque<PendingWait> pending;
    /// Waits of ksoftirqd itself: who kept it from running, for the softirq wait that follows.
    std::deque<trace_wait> ksoftirqd_delays;
    std::deque<trace_sample> samples;
    /// What other CPUs saw of it while it served no interrupts.
    std::deque<trace_glimpse> glimpses;
  };

  [[nodiscard]] base::Status write(CpuState& cpu, const PendingWait& pending);
  [[nodiscard]] base::Status write_packet(const trace_packet& packet);
  [[nodiscard]] base::Status write_flush(const trace_flush& flush);
  [[nodiscard]] base::Result<evidence::Occupant> occupant(const trace_task& task, const KernelStack& stack);
  /// Whether the samples taken during the wait say that it was local_bh_disable() that held softirqs back.
  [[nodiscard]] static bool mostly_bh_off(const CpuState& cpu, const evidence::WaitRecord& wait);
  /// Whether a sample within the wait found somebody else than the idle loop.
  [[nodiscard]] static bool sampled_within(const CpuState& cpu, const evidence::WaitRecord& wait);
  /// Whether the sample was taken during the wait; with hard IRQs off, those of the hardware only. (Not by the wait's mode: what
  /// began as hard IRQs off may turn out to be the hypervisor's.)
  [[nodiscard]] static bool of_wait(const trace_sample& sample, const evidence::WaitRecord& wait, bool irqs_off);
  [[nodiscard]] base::Status add_sampled_occupants(const CpuState& cpu, evidence::WaitRecord& wait, bool irqs_off);
  [[nodiscard]] base::Result<std::int64_t> add_stack(const KernelStack& stack);
  /// Who had the CPU during the wait, in order.
  [[nodiscard]] base::Status write_samples(const CpuState& cpu, const evidence::WaitRecord& wait, bool irqs_off);
  /// What was seen of it from other CPUs, as samples with a count of 0.
  [[nodiscard]] base::Status write_glimpses(CpuState& cpu, const evidence::WaitRecord& wait);

  SymbolLookup lookup_;
  Sink& sink_;
  std::map<std::uint32_t, CpuState> cpus_;
  std::int64_t next_wait_id_ = 1;
  std::optional<std::int64_t> last_sequence_;
  std::int64_t malformed_count_ = 0;
  bool counts_packets_ = true;
};

}  // namespace stallscope::trace
