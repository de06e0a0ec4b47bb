// SPDX-License-Identifier: Apache-2.0
#include "trace/perf/perf_tracer.h"

#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "host/hooks.h"
#include "host/symbols.h"
#include "trace/assembler.h"
#include "trace/napi_budget.h"
#include "trace/perf/perf_events.h"
#include "trace/perf/task_names.h"
#include "trace/perf/tracefs.h"
#include "trace/perf/wait_machine.h"

namespace stallscope::trace::perf {
namespace {

/// CPUs publish their events independently. One that is younger than this is kept back until the next drain, so that none that is
/// older is still under way on another CPU.
constexpr std::int64_t merge_margin_ns = 10'000'000;

/// include/linux/proc_ns.h, PROC_PID_INIT_INO, since Linux 3.8.
constexpr ino_t host_pid_namespace_inode = 0xEFFFFFFC;

base::Status require_host_pid_namespace() {
  struct stat status {};
  if (::stat("/proc/self/ns/pid", &status) == 0 && status.st_ino != host_pid_namespace_inode) {
    return base::Error{"trace", "by perf events", "this process is in a PID namespace of its own, where other tasks have no id",
                       "Run it in the host's PID namespace (hostPID: true, --pid=host)."};
  }
  return base::ok();
}

/// What perf events do not tell, whatever the kernel.
std::vector<evidence::GapRecord> inherent_gaps() {
  return {{"arguments and files of system calls", "perf events carry no registers of the task",
           "A culprit is known by its task, system call and kernel functions, without the file."},
          {"preempt count", "perf events do not carry it", "Bottom halves off cannot be told from other softirq delays."},
          {"packets of the probes", "perf events do not carry their contents", "A late probe is matched to a wait by time alone."},
          {"stolen time of each wait", "perf events do not carry it",
           "A virtual CPU that was taken away while in the kernel looks like hard IRQs off."},
          {"flushes of cgroup statistics", "not traced by perf events", "They are known by their stack only, not timed."}};
}

std::optional<host::HookId> hook_of(std::string_view tracepoint) {
  const std::string_view name = tracepoint.substr(tracepoint.find('/') + 1);
  for (const host::Hook& hook : host::all_hooks()) {
    if (hook.name == name) {
      return hook.id;
    }
  }
  return std::nullopt;
}

class PerfBackend : public Backend {
 public:
  PerfBackend(const TracerOptions& options, Sink& sink, host::KernelSymbols symbols, PerfEvents events)
      : symbols_(std::move(symbols)),
        assembler_([this](std::uint64_t address) { return symbols_.function_at(address); }, sink),
        machine_(
            {options.wait_threshold_ns, options.sample_period_ns, read_napi_budget()},
            [this](const void* record, std::size_t size_bytes) {
              if (sink_status_) {
                sink_status_ = assembler_.on_record(record, size_bytes);
              }
            },
            [this](const Event& event, trace_task& task) { names_.describe(task, event.cpu); }),
        events_(std::move(events)),
        gaps_(inherent_gaps()) {}

  base::Status begin(const std::map<std::string, TracepointFormat, std::less<>>& formats) {
    for (const Tracepoint& tracepoint : tracepoints()) {
      const std::string name(tracepoint.name);
      const auto refused = events_.refused().find(name);
      if (refused != events_.refused().end()) {
        add_gap(tracepoint, refused->second);
      } else if (!formats.contains(name)) {
        add_gap(tracepoint, "this kernel has no such tracepoint");
      }
    }
    if (symbols_.addresses_hidden()) {
      gaps_.push_back({"kernel stacks", "/proc/kallsyms shows no addresses",
                       "Functions are shown as addresses, and a culprit is known by its task only."});
    }
    return events_.enable();
  }

  base::Status drain(int timeout_ms) override {
    if (const base::Status waited = events_.wait(timeout_ms); !waited) {
      return waited.error();
    }
    const std::int64_t now_ns = base::monotonic_ns();
    process_until(now_ns - merge_margin_ns);
    return sink_status_ ? assembler_.settle(now_ns - merge_margin_ns) : sink_status_;
  }

  base::Status stop() override {
    events_.disable();
    process_until(base::monotonic_ns());
    return sink_status_ ? assembler_.finish() : sink_status_;
  }

  [[nodiscard]] const std::vector<evidence::GapRecord>& gaps() const override { return gaps_; }

  [[nodiscard]] std::vector<evidence::LossRecord> losses() const override {
    std::vector<evidence::LossRecord> losses;
    if (lost_count_ > 0) {
      losses.push_back({"the ring of perf events was full", lost_count_});
    }
    if (const std::int64_t malformed = events_.malformed_count() + assembler_.malformed_count(); malformed > 0) {
      losses.push_back({"the tracer's records were malformed", malformed});
    }
    return losses;
  }

 private:
  void add_gap(const Tracepoint& tracepoint, std::string reason) {
    const std::optional<host::HookId> id = hook_of(tracepoint.name);
    gaps_.push_back({std::string(tracepoint.name), std::move(reason), id ? std::string(host::hook(*id).cost) : std::string()});
    if (tracepoint.kind == EventKind::napi_poll) {
      assembler_.releases_are_not_seen();
    }
  }

  void process_until(std::int64_t until_ns) {
    events_.take(waiting_);
    for (const Event& event : waiting_) {
      // At once: the events before may need the name.
      if (event.kind == EventKind::renamed) {
        names_.renamed(event.tid, event.comm);
      }
    }
    std::stable_sort(waiting_.begin(), waiting_.end(), [](const Event& a, const Event& b) { return a.time_ns < b.time_ns; });
    const auto end = std::find_if(waiting_.begin(), waiting_.end(), [&](const Event& event) { return event.time_ns > until_ns; });
    for (auto event = waiting_.begin(); event != end; ++event) {
      if (event->kind == EventKind::lost) {
        lost_count_ += event->value;
      }
      machine_.on_event(*event);
    }
    waiting_.erase(waiting_.begin(), end);
    names_.forget_read();
  }

  host::KernelSymbols symbols_;
  WaitAssembler assembler_;
  TaskNames names_;
  WaitMachine machine_;
  PerfEvents events_;
  /// In the order of their times; what came too late for the last drain.
  std::vector<Event> waiting_;
  std::vector<evidence::GapRecord> gaps_;
  std::int64_t lost_count_ = 0;
  base::Status sink_status_ = base::ok();
};

}  // namespace

base::Result<std::unique_ptr<Backend>> start(const TracerOptions& options, Sink& sink) {
  if (const base::Status there = require_host_pid_namespace(); !there) {
    return there.error();
  }
  std::vector<std::string_view> names;
  for (const Tracepoint& tracepoint : tracepoints()) {
    names.push_back(tracepoint.name);
  }
  const auto formats = read_tracepoint_formats(names);
  if (!formats) {
    return formats.error();
  }
  base::Result<host::KernelSymbols> symbols = host::KernelSymbols::load();
  if (!symbols) {
    return symbols.error();
  }
  base::Result<PerfEvents> events = PerfEvents::open({options.sample_period_ns, options.ring_buffer_bytes}, *formats);
  if (!events) {
    return events.error();
  }
  auto backend = std::make_unique<PerfBackend>(options, sink, std::move(*symbols), std::move(*events));
  if (const base::Status begun = backend->begin(*formats); !begun) {
    return begun.error();
  }
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace stallscope::trace::perf
