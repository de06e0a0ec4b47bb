// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "trace/perf/records.h"
#include "trace/perf/tracepoint_format.h"

namespace stallscope::trace::perf {

/// The tracepoints there are, and what each is for.
struct Tracepoint {
  EventKind kind;
  /// "irq/softirq_raise"
  std::string_view name;
  /// Evaluated in the kernel, so that only what is needed arrives; empty for all of it.
  const char* filter;
  /// The fields that are read.
  std::string_view value_field;
  std::string_view comm_field;
};
[[nodiscard]] std::span<const Tracepoint> tracepoints();

/// The memory a CPU's events arrive in, shared with the kernel (perf_event_open(2), "MMAP layout").
class EventRing {
 public:
  [[nodiscard]] static base::Result<EventRing> map(int event_fd, std::size_t size_bytes);
  EventRing(EventRing&& other) noexcept;
  EventRing& operator=(EventRing&&) = delete;
  EventRing(const EventRing&) = delete;
  EventRing& operator=(const EventRing&) = delete;
  ~EventRing();

  /// Moves what the kernel has published to the end of `records` and gives its room back.
  void take(std::vector<std::byte>& records);

 private:
  EventRing(void* memory, std::size_t size_bytes) : memory_(memory), size_bytes_(size_bytes) {}
  void* memory_;
  std::size_t size_bytes_;
};

struct EventOptions {
  std::int64_t sample_period_ns = 1'000'000;
  /// Of all rings together; each has a power of two, and no less than minimum_ring_bytes.
  std::size_t rings_bytes = 8U << 20U;
};

/// The CPU clock and the tracepoints of every online CPU.
class PerfEvents {
 public:
  /// A fraction of a second of a busy CPU's events.
  static constexpr std::size_t minimum_ring_bytes = std::size_t{128} << 10U;

  /// Opens and maps; nothing is recorded before enable(). A tracepoint that the kernel refuses is named in refused() and left out;
  /// without a CPU clock nothing works.
  [[nodiscard]] static base::Result<PerfEvents> open(const EventOptions& options,
                                                     const std::map<std::string, TracepointFormat, std::less<>>& formats);

  [[nodiscard]] base::Status enable();
  void disable();

  /// Waits until a ring begins to fill, but no longer than `timeout_ms`.
  [[nodiscard]] base::Status wait(int timeout_ms) const;
  /// What has arrived on all CPUs, each CPU's in order.
  void take(std::vector<Event>& events);

  [[nodiscard]] const std::map<std::string, std::string>& refused() const { return refused_; }
  [[nodiscard]] std::int64_t malformed_count() const { return parser_.malformed_count(); }

 private:
  struct Cpu {
    std::uint32_t number;
    std::vector<base::OwnedFd> events;  // the clock first
    EventRing ring;
  };

  PerfEvents() = default;
  [[nodiscard]] base::Status open_cpu(std::uint32_t cpu, const EventOptions& options, std::size_t ring_bytes,
                                      const std::map<std::string, TracepointFormat, std::less<>>& formats);
  [[nodiscard]] base::Result<base::OwnedFd> open_tracepoint(const Tracepoint& tracepoint, const TracepointFormat& format,
                                                            std::uint32_t cpu, int clock);

  std::vector<Cpu> cpus_;
  RecordParser parser_;
  std::map<std::string, std::string> refused_;
  std::vector<std::byte> records_;
};

}  // namespace stallscope::trace::perf
