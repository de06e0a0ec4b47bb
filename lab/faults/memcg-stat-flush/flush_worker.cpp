// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/memcg-stat-flush/flush_worker.h"

#include <fmt/format.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string>
#include <utility>

#include "base/files.h"
#include "base/text.h"
#include "host/private_mounts.h"

namespace stallscope::lab::memcg_stat_flush {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;
using base::Status;

constexpr std::string_view worker_function = "flush_memcg_stats_dwork";

/// The tracepoint's number, which tracefs has. It is mounted where it is not, but where nobody else sees it.
Result<std::uint64_t> tracepoint_id() {
  Result<std::string> text = std::string();
  const Status looked = host::in_private_mounts([&] {
    const std::string path = "/sys/kernel/tracing/events/workqueue/workqueue_execute_start/id";
    text = base::read_file(path);
    if (!text && ::mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, nullptr) == 0) {
      text = base::read_file(path);
    }
    return base::ok();
  });
  if (!looked || !text) {
    return looked ? text.error() : looked.error();
  }
  std::uint64_t id = 0;
  if (std::from_chars(text->data(), text->data() + text->size(), id).ec != std::errc{}) {
    return Error{"read", "the number of workqueue_execute_start", "not a number", ""};
  }
  return id;
}

/// A counter on one CPU; none where the CPU is offline.
Result<std::optional<OwnedFd>> open_counter(std::uint64_t tracepoint, const std::string& filter, int cpu) {
  perf_event_attr attributes{};
  attributes.type = PERF_TYPE_TRACEPOINT;
  attributes.size = sizeof attributes;
  attributes.config = tracepoint;
  OwnedFd counter(static_cast<int>(::syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!counter && errno == ENODEV) {
    return std::optional<OwnedFd>();
  }
  if (!counter || ::ioctl(counter.get(), PERF_EVENT_IOC_SET_FILTER, filter.c_str()) != 0) {
    return base::errno_error("count", "runs of the kernel's flush worker", errno);
  }
  return std::optional<OwnedFd>(std::move(counter));
}

}  // namespace

std::optional<std::uint64_t> find_symbol(std::string_view kallsyms, std::string_view name) {
  constexpr int hexadecimal = 16;
  for (const std::string_view line : base::split(kallsyms, '\n')) {
    const std::vector<std::string_view> fields = base::split_fields(line);
    if (fields.size() < 3 || fields[2] != name) {
      continue;
    }
    std::uint64_t address = 0;
    std::from_chars(fields[0].data(), fields[0].data() + fields[0].size(), address, hexadecimal);
    return address == 0 ? std::nullopt : std::optional(address);
  }
  return std::nullopt;
}

Result<FlushWorkerWatch> FlushWorkerWatch::open() {
  const Result<std::string> kallsyms = base::read_file("/proc/kallsyms");
  if (!kallsyms) {
    return kallsyms.error();
  }
  const std::optional<std::uint64_t> address = find_symbol(*kallsyms, worker_function);
  if (!address) {
    return Error{"find", std::string(worker_function), "/proc/kallsyms does not show its address", ""};
  }
  const Result<std::uint64_t> tracepoint = tracepoint_id();
  if (!tracepoint) {
    return tracepoint.error();
  }
  const std::string filter = fmt::format("function == {:#x}", *address);
  std::vector<OwnedFd> counters;
  const auto cpus_count = static_cast<int>(::sysconf(_SC_NPROCESSORS_CONF));
  for (int cpu = 0; cpu < cpus_count; ++cpu) {
    Result<std::optional<OwnedFd>> counter = open_counter(*tracepoint, filter, cpu);
    if (!counter) {
      return counter.error();
    }
    if (*counter) {
      counters.push_back(std::move(**counter));
    }
  }
  return FlushWorkerWatch(std::move(counters));
}

Result<std::int64_t> FlushWorkerWatch::runs_count() const {
  std::int64_t total = 0;
  for (const OwnedFd& counter : counters_) {
    std::int64_t count = 0;
    if (::read(counter.get(), &count, sizeof count) != sizeof count) {
      return base::errno_error("read", "the count of the kernel's flush worker", errno);
    }
    total += count;
  }
  return total;
}

}  // namespace stallscope::lab::memcg_stat_flush
