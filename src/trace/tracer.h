// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "evidence/records.h"
#include "trace/sink.h"

namespace stallscope::trace {

enum class BackendChoice : std::uint8_t {
  /// BPF programs, or perf events where these cannot be loaded.
  automatic,
  bpf,
  perf,
};

class Backend;

struct TracerOptions {
  BackendChoice backend = BackendChoice::automatic;
  /// Waits shorter than this leave no record. At least 100 us.
  std::int64_t wait_threshold_ns = 1'000'000;
  /// Follow the echo requests with this ICMP identifier (host order) and their replies.
  std::optional<std::uint16_t> icmp_identifier;
  /// Follow the SYNs marked with this token (evidence/syn_mark.h) and what answers them.
  std::optional<std::uint64_t> syn_token;
  /// A power of two; a wait takes about 3 KiB.
  std::uint32_t ring_buffer_bytes = 8U << 20U;
  /// Period of the CPU clock samples, which also bounds how exactly the start of an interrupts-off stretch is known.
  std::int64_t sample_period_ns = 1'000'000;
};

/// Watches this kernel until destroyed. Needs root (CAP_BPF, CAP_PERFMON) and kernel BTF, Linux 5.8 or later; elsewhere it uses
/// perf events, which show less (perf/perf_tracer.h). What cannot be seen is named by gaps().
class Tracer {
 public:
  /// Loads and attaches; blocks for some tens of milliseconds. `sink` must outlive the tracer.
  [[nodiscard]] static base::Result<Tracer> start(const TracerOptions& options, Sink& sink);

  Tracer(Tracer&&) noexcept;
  Tracer& operator=(Tracer&&) noexcept;
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;
  ~Tracer();

  /// Waits for `timeout_ms`, or until the buffer begins to fill, and hands what is complete to the sink. It returns also when
  /// records come faster than it handles them. To be called several times a second. An error is the sink's or the ring buffer's.
  [[nodiscard]] base::Status drain(int timeout_ms);
  /// Ends the observation, then drains what is left. Nothing is recorded afterwards.
  [[nodiscard]] base::Status stop();

  [[nodiscard]] const std::vector<evidence::GapRecord>& gaps() const;
  /// Events lost because the ring buffer was full, and records that made no sense.
  [[nodiscard]] std::vector<evidence::LossRecord> losses() const;

 private:
  explicit Tracer(std::unique_ptr<Backend> backend);
  std::unique_ptr<Backend> backend_;
};

}  // namespace stallscope::trace
