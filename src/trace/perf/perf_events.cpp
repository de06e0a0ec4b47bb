// SPDX-License-Identifier: Apache-2.0
#include "trace/perf/perf_events.h"

#include <fmt/format.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <ctime>
#include <utility>

#include "host/kernel.h"

namespace stallscope::trace::perf {
namespace {

constexpr std::array<Tracepoint, 6> all_tracepoints = {
    {{EventKind::softirq_raise, "irq/softirq_raise", "vec==3", "vec", ""},
     // All vectors: another one may be what NET_RX waits for.
     {EventKind::softirq_entry, "irq/softirq_entry", "", "vec", ""},
     {EventKind::softirq_exit, "irq/softirq_exit", "", "vec", ""},
     {EventKind::napi_poll, "napi/napi_poll", "work>0", "work", ""},
     {EventKind::thread_wakeup, "sched/sched_wakeup", R"(comm ~ "ksoftirqd/*" || comm ~ "napi/*")", "pid", "comm"},
     // The end of idling, too: some hypervisors do not serve an idle CPU's timers, so that its clock says nothing of that time.
     {EventKind::thread_switch, "sched/sched_switch", R"(prev_pid==0 || next_comm ~ "ksoftirqd/*" || next_comm ~ "napi/*")",
      "next_pid", "next_comm"}}};

int open_event(perf_event_attr& attributes, std::uint32_t cpu) {
  return static_cast<int>(::syscall(SYS_perf_event_open, &attributes, -1, static_cast<int>(cpu), -1, PERF_FLAG_FD_CLOEXEC));
}

perf_event_attr attributes_of(EventKind kind, std::size_t ring_bytes) {
  perf_event_attr attributes{};
  // Fields that kernels before 4.1 do not know are zero and must not be counted.
  attributes.size = PERF_ATTR_SIZE_VER5;
  attributes.sample_type = sample_type_of(kind);
  attributes.sample_id_all = 1;
  attributes.disabled = 1;
  attributes.use_clockid = 1;
  attributes.clockid = CLOCK_MONOTONIC;
  attributes.watermark = 1;
  attributes.wakeup_watermark = static_cast<__u32>(ring_bytes / 4);
  return attributes;
}

base::Error open_error(int error) {
  const char* hint = error == EPERM || error == EACCES ? "Run it as root (sudo), or with CAP_PERFMON and CAP_SYS_ADMIN."
                                                       : "stallscope doctor says what this host can observe.";
  return base::errno_error("open", "perf events of all CPUs", error, hint);
}

/// Several descriptors for each CPU are more than the usual limit of 1,024 on a large machine.
void allow_descriptors(std::size_t count) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < count + 256) {
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, count + 256);
    (void)::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

}  // namespace

std::span<const Tracepoint> tracepoints() {
  return all_tracepoints;
}

base::Result<EventRing> EventRing::map(int event_fd, std::size_t size_bytes) {
  const std::size_t mapped_bytes = size_bytes + static_cast<std::size_t>(::getpagesize());
  void* memory = ::mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, event_fd, 0);
  if (memory == MAP_FAILED) {
    return base::errno_error("map", "the ring of perf events", errno, "Choose a smaller --buffer.");
  }
  return EventRing(memory, size_bytes);
}

EventRing::EventRing(EventRing&& other) noexcept : memory_(std::exchange(other.memory_, nullptr)), size_bytes_(other.size_bytes_) {}

EventRing::~EventRing() {
  if (memory_ != nullptr) {
    ::munmap(memory_, size_bytes_ + static_cast<std::size_t>(::getpagesize()));
  }
}

void EventRing::take(std::vector<std::byte>& records) {
  auto* control = static_cast<perf_event_mmap_page*>(memory_);
  const auto* data = static_cast<const std::byte*>(memory_) + ::getpagesize();
  const __u64 head = std::atomic_ref<__u64>(control->data_head).load(std::memory_order_acquire);
  const __u64 tail = control->data_tail;
  const auto available = static_cast<std::size_t>(std::min<__u64>(head - tail, size_bytes_));
  const std::size_t begin = tail % size_bytes_;
  const std::size_t first = std::min(available, size_bytes_ - begin);
  records.insert(records.end(), data + begin, data + begin + first);
  records.insert(records.end(), data, data + (available - first));
  std::atomic_ref<__u64>(control->data_tail).store(head, std::memory_order_release);
}

base::Result<base::OwnedFd> PerfEvents::open_tracepoint(const Tracepoint& tracepoint, const TracepointFormat& format,
                                                        std::uint32_t cpu, int clock) {
  perf_event_attr attributes = attributes_of(tracepoint.kind, minimum_ring_bytes);
  attributes.type = PERF_TYPE_TRACEPOINT;
  attributes.config = format.id;
  attributes.sample_period = 1;
  base::OwnedFd event(open_event(attributes, cpu));
  __u64 id = 0;
  if (!event || (*tracepoint.filter != '\0' && ::ioctl(event.get(), PERF_EVENT_IOC_SET_FILTER, tracepoint.filter) != 0) ||
      ::ioctl(event.get(), PERF_EVENT_IOC_SET_OUTPUT, clock) != 0 || ::ioctl(event.get(), PERF_EVENT_IOC_ID, &id) != 0) {
    return open_error(errno);
  }
  parser_.add_source(id, {tracepoint.kind, format.field(tracepoint.value_field), format.field(tracepoint.comm_field)});
  return event;
}

base::Status PerfEvents::open_cpu(std::uint32_t cpu, const EventOptions& options, std::size_t ring_bytes,
                                  const std::map<std::string, TracepointFormat, std::less<>>& formats) {
  perf_event_attr attributes = attributes_of(EventKind::clock, ring_bytes);
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_CPU_CLOCK;
  attributes.sample_period = static_cast<__u64>(options.sample_period_ns);
  attributes.exclude_callchain_user = 1;
  attributes.comm = 1;
  base::OwnedFd clock(open_event(attributes, cpu));
  if (!clock && errno == ENODEV) {
    return base::ok();  // gone offline meanwhile
  }
  __u64 id = 0;
  if (!clock || ::ioctl(clock.get(), PERF_EVENT_IOC_ID, &id) != 0) {
    return open_error(errno);
  }
  parser_.add_source(id, {EventKind::clock, {}, {}});
  base::Result<EventRing> ring = EventRing::map(clock.get(), ring_bytes);
  if (!ring) {
    return ring.error();
  }
  const int clock_fd = clock.get();
  cpus_.push_back({cpu, {}, std::move(*ring)});
  std::vector<base::OwnedFd>& events = cpus_.back().events;
  events.push_back(std::move(clock));
  for (const Tracepoint& tracepoint : all_tracepoints) {
    const auto format = formats.find(tracepoint.name);
    if (format == formats.end()) {
      continue;
    }
    if (format->second.field(tracepoint.value_field).size_bytes == 0) {
      refused_[std::string(tracepoint.name)] = fmt::format("it has no field {}", tracepoint.value_field);
      continue;
    }
    base::Result<base::OwnedFd> event = open_tracepoint(tracepoint, format->second, cpu, clock_fd);
    if (event) {
      events.push_back(std::move(*event));
    } else {
      refused_[std::string(tracepoint.name)] = event.error().reason;
    }
  }
  return base::ok();
}

base::Result<PerfEvents> PerfEvents::open(const EventOptions& options,
                                          const std::map<std::string, TracepointFormat, std::less<>>& formats) {
  PerfEvents events;
  const std::vector<std::int32_t> online = host::read_kernel().online_cpus;
  if (online.empty()) {
    return base::Error{"list", "the online CPUs", "/sys/devices/system/cpu/online cannot be read", "Mount sysfs at /sys."};
  }
  allow_descriptors(online.size() * (all_tracepoints.size() + 1));
  const std::size_t ring_bytes = std::bit_floor(std::max(options.rings_bytes / online.size(), minimum_ring_bytes));
  events.cpus_.reserve(online.size());
  for (const std::int32_t cpu : online) {
    if (const base::Status opened = events.open_cpu(static_cast<std::uint32_t>(cpu), options, ring_bytes, formats); !opened) {
      return opened.error();
    }
  }
  return events;
}

base::Status PerfEvents::enable() {
  for (const Cpu& cpu : cpus_) {
    for (const base::OwnedFd& event : cpu.events) {
      if (::ioctl(event.get(), PERF_EVENT_IOC_ENABLE, 0) != 0) {
        return open_error(errno);
      }
    }
  }
  return base::ok();
}

void PerfEvents::disable() {
  for (const Cpu& cpu : cpus_) {
    for (const base::OwnedFd& event : cpu.events) {
      (void)::ioctl(event.get(), PERF_EVENT_IOC_DISABLE, 0);
    }
  }
}

base::Status PerfEvents::wait(int timeout_ms) const {
  std::vector<pollfd> waits;
  waits.reserve(cpus_.size());
  for (const Cpu& cpu : cpus_) {
    waits.push_back({cpu.events.front().get(), POLLIN, 0});
  }
  if (::poll(waits.data(), waits.size(), timeout_ms) < 0 && errno != EINTR) {
    return base::errno_error("wait for", "perf events", errno);
  }
  return base::ok();
}

void PerfEvents::take(std::vector<Event>& events) {
  for (Cpu& cpu : cpus_) {
    records_.clear();
    cpu.ring.take(records_);
    parser_.parse(records_, cpu.number, events);
  }
}

}  // namespace stallscope::trace::perf
