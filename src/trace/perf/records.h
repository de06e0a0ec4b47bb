// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "trace/perf/tracepoint_format.h"

namespace stallscope::trace::perf {

enum class EventKind : std::uint8_t {
  /// A sample of the CPU clock.
  clock,
  softirq_raise,
  softirq_entry,
  softirq_exit,
  napi_poll,
  /// ksoftirqd or a NAPI thread became runnable; it, or any task after idling, got the CPU.
  thread_wakeup,
  thread_switch,
  /// A task took a new name.
  renamed,
  /// Events are missing here: the ring was full.
  lost,
  /// The kernel held back the CPU clock, or goes on with it (PERF_RECORD_THROTTLE).
  clock_paused,
};

/// One record of a CPU's ring, decoded.
struct Event {
  EventKind kind = EventKind::clock;
  std::uint32_t cpu = 0;
  /// CLOCK_MONOTONIC.
  std::int64_t time_ns = 0;
  /// Who had the CPU: process and thread, 0 for the idle task.
  std::int32_t tgid = 0;
  std::int32_t tid = 0;
  /// The softirq vector, the packets of a poll, the thread woken or switched to, or how many events were lost.
  std::int64_t value = 0;
  /// A sample that interrupted user space, and so has no kernel stack.
  bool in_user_space = false;
  /// The name of the thread woken or switched to, or the new name.
  std::string comm;
  /// Of a sample: the kernel's return addresses, innermost first.
  std::vector<std::uint64_t> stack;
};

/// What is asked of every event, and hence how its records are laid out (perf_event_open(2)).
[[nodiscard]] std::uint64_t sample_type_of(EventKind kind);

/// What the records with one event id are.
struct Source {
  EventKind kind = EventKind::clock;
  /// Of a tracepoint: the fields that `value` and `comm` are read from.
  Field value;
  Field comm;
};

/// Decodes what the kernel wrote into a ring. Pure, and safe on any bytes.
class RecordParser {
 public:
  void add_source(std::uint64_t id, const Source& source) { sources_[id] = source; }

  /// Whole records, as the kernel publishes them. Adds to `events` in the order of the ring.
  void parse(std::span<const std::byte> records, std::uint32_t cpu, std::vector<Event>& events);

  /// Records that made no sense.
  [[nodiscard]] std::int64_t malformed_count() const { return malformed_count_; }

 private:
  std::map<std::uint64_t, Source> sources_;
  std::int64_t malformed_count_ = 0;
};

}  // namespace stallscope::trace::perf
