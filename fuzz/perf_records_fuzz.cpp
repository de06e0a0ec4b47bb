// SPDX-License-Identifier: Apache-2.0
// Any bytes as the content of a ring of perf events: through the parser, and what comes out through the state machine and the
// assembler. Ended by 0xff, a tracepoint's format as tracefs shows it may come first; its fields are then read.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trace/assembler.h"
#include "trace/perf/records.h"
#include "trace/perf/tracepoint_format.h"
#include "trace/perf/wait_machine.h"

namespace stallscope::trace::perf {
namespace {

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

/// Checks what holds of every record, whatever the kernel sent.
class CheckingSink : public Sink {
 public:
  base::Result<std::int64_t> add_stack(std::span<const std::string> frames) override {
    require(!frames.empty() && frames.size() <= TRACE_STACK_FRAMES);
    return 1;
  }
  base::Status add(const evidence::WaitRecord& wait) override {
    require(wait.earliest_start_ns <= wait.start_ns && wait.start_ns <= wait.latest_start_ns);
    require(wait.latest_start_ns <= wait.end_ns);
    require(!wait.occupants.empty());
    return base::ok();
  }
  base::Status add(const evidence::SampleRecord& sample) override {
    require(sample.sample_count > 0 && sample.first_ns <= sample.last_ns);
    return base::ok();
  }
  base::Status add(const evidence::FlushRecord&) override { std::abort(); }
  base::Status add(const evidence::PacketRecord&) override { std::abort(); }
};

void read_ring(std::string_view input) {
  RecordParser parser;
  Field number{8, 4};
  Field comm{8, 16};
  if (const std::size_t end = input.find('\xff'); end != std::string_view::npos) {
    if (const auto format = parse_tracepoint_format(input.substr(0, end))) {
      number = format->field("vec");
      comm = format->field("comm");
    }
    input.remove_prefix(end + 1);
  }
  for (std::uint64_t kind = 0; kind <= static_cast<std::uint64_t>(EventKind::thread_switch); ++kind) {
    parser.add_source(kind, {static_cast<EventKind>(kind), number, comm});
  }
  std::vector<Event> events;
  parser.parse(std::as_bytes(std::span(input)), 0, events);
  std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) { return a.time_ns < b.time_ns; });

  CheckingSink sink;
  WaitAssembler assembler([](std::uint64_t) { return std::string_view("function"); }, sink);
  WaitMachine machine(
      {}, [&](const void* record, std::size_t size_bytes) { require(bool(assembler.on_record(record, size_bytes))); },
      [](const Event&, trace_task&) {});
  for (const Event& event : events) {
    require(event.time_ns >= 0);
    machine.on_event(event);
  }
  require(bool(assembler.finish()));
  require(assembler.malformed_count() == 0);
}

}  // namespace
}  // namespace stallscope::trace::perf

// NOLINTNEXTLINE(readability-identifier-naming): the name libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  stallscope::trace::perf::read_ring({reinterpret_cast<const char*>(data), size});
  return 0;
}
