// SPDX-License-Identifier: Apache-2.0
#include "trace/tracer.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <wait.skel.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/owned_fd.h"
#include "base/units.h"
#include "bpf/load.h"
#include "bpf/ring_buffer.h"
#include "bpf/skeleton.h"
#include "host/btf.h"
#include "host/hooks.h"
#include "host/kernel.h"
#include "host/symbols.h"
#include "trace/assembler.h"
#include "trace/backend.h"
#include "trace/napi_budget.h"
#include "trace/perf/perf_tracer.h"
#include "trace/wait_record.h"

namespace stallscope::trace {
namespace {

using WaitSkeleton = bpf::Skeleton<wait_bpf, &wait_bpf::destroy>;

struct LinkDeleter {
  void operator()(bpf_link* link) const { bpf_link__destroy(link); }
};
using Link = std::unique_ptr<bpf_link, LinkDeleter>;

/// A program of wait.bpf.c and the tracepoint it hooks.
struct TracepointProgram {
  bpf_program* program;
  host::HookId hook;
};

std::array<TracepointProgram, 11> tracepoint_programs(const wait_bpf& skeleton) {
  const auto& programs = skeleton.progs;
  return {{{programs.on_hrtimer_expire, host::HookId::hrtimer_expire_entry},
           {programs.on_softirq_raise, host::HookId::softirq_raise},
           {programs.on_softirq_entry, host::HookId::softirq_entry},
           {programs.on_softirq_exit, host::HookId::softirq_exit},
           {programs.on_napi_poll, host::HookId::napi_poll},
           {programs.on_sched_wakeup, host::HookId::sched_wakeup},
           {programs.on_sched_switch, host::HookId::sched_switch},
           {programs.on_rstat_locked, host::HookId::cgroup_rstat_locked},
           {programs.on_rstat_unlock, host::HookId::cgroup_rstat_unlock},
           {programs.on_netif_rx, host::HookId::netif_rx_entry},
           {programs.on_netif_receive_skb, host::HookId::netif_receive_skb}}};
}

/// How far the preempt count lies from the run queue of the same CPU; 0 where that cannot be told. It moved into pcpu_hot in
/// Linux 6.2 (commit 64701838bf05) and out again in 6.15 (commit 46e8fff6d45f).
std::int64_t preempt_count_from_rq_bytes(const host::Btf& btf) {
  const std::optional<std::int64_t> run_queue = btf.per_cpu_offset("runqueues");
  if (!run_queue) {
    return 0;
  }
  if (const std::optional<std::int64_t> count = btf.per_cpu_offset("__preempt_count")) {
    return *count - *run_queue;
  }
  const std::optional<std::int64_t> hot = btf.per_cpu_offset("pcpu_hot");
  const std::optional<std::int64_t> member = btf.member_offset("pcpu_hot", "preempt_count");
  return hot && member ? *hot + *member - *run_queue : 0;
}

evidence::GapRecord gap(host::HookId id, std::string reason) {
  const host::Hook& hook = host::hook(id);
  return {std::string(hook.name), std::move(reason), std::string(hook.cost)};
}

/// The CPU clock as a perf event of one CPU; its timer expires whether the CPU is idle or not.
base::OwnedFd open_cpu_clock(int cpu, std::int64_t period_ns) {
  perf_event_attr attributes{};
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.size = sizeof(attributes);
  attributes.config = PERF_COUNT_SW_CPU_CLOCK;
  attributes.sample_period = static_cast<__u64>(period_ns);
  return base::OwnedFd(static_cast<int>(syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC)));
}

/// The CPU's cycles in the kernel as a perf event, whose interrupt is an NMI. Invalid where there is no PMU.
base::OwnedFd open_hardware_cycles(int cpu, std::int64_t period_ns) {
  perf_event_attr attributes{};
  attributes.type = PERF_TYPE_HARDWARE;
  attributes.size = sizeof(attributes);
  attributes.config = PERF_COUNT_HW_CPU_CYCLES;
  attributes.freq = 1;
  attributes.sample_freq = static_cast<__u64>(base::ns_per_s / period_ns);
  attributes.exclude_user = 1;
  return base::OwnedFd(static_cast<int>(syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC)));
}

base::Error load_error(int error) {
  if (error == EPERM || error == EACCES) {
    // What libbpf says then is about memory limits and kernel options, which is not it.
    (void)bpf::last_messages();
    return {"load", "the tracer", "not permitted", "Run it as root (sudo), or with CAP_BPF and CAP_PERFMON."};
  }
  std::string reason = base::errno_error("", "", error).reason;
  if (const std::string said = bpf::last_messages(); !said.empty()) {
    reason += " (" + said + ")";
  }
  return {"load", "the tracer", std::move(reason), "stallscope doctor says what this host can observe."};
}

class BpfBackend : public Backend {
 public:
  BpfBackend(const TracerOptions& options, Sink& sink, host::KernelSymbols symbols)
      : options_(options),
        symbols_(std::move(symbols)),
        assembler_([this](std::uint64_t address) { return symbols_.function_at(address); }, sink) {}

  base::Status load(const host::Btf& btf);
  base::Status attach();
  base::Status drain(int timeout_ms) override;
  base::Status stop() override;
  [[nodiscard]] const std::vector<evidence::GapRecord>& gaps() const override { return gaps_; }
  [[nodiscard]] std::vector<evidence::LossRecord> losses() const override;

 private:
  /// Returns the last errno, 0 where it worked on every CPU that is online.
  int attach_to_each_cpu(bpf_program* program, const std::function<base::OwnedFd(int cpu)>& open_event);
  /// Those that this kernel has the hooks for; what it lacks is a gap.
  void choose_programs(const host::Btf& btf);
  void attach_flushes();
  void attach_clocks();
  [[nodiscard]] std::int64_t lost_count() const;

  TracerOptions options_;
  host::KernelSymbols symbols_;
  WaitAssembler assembler_;
  // The first error of the sink; records that follow are not offered to it any more.
  base::Status sink_status_ = base::ok();
  WaitSkeleton skeleton_;
  // After the skeleton, so that programs are detached before it goes.
  std::vector<Link> links_;
  std::optional<bpf::RingBuffer> ring_;
  std::vector<evidence::GapRecord> gaps_;
  std::int64_t lost_at_stop_ = -1;
};

base::Status BpfBackend::load(const host::Btf& btf) {
  skeleton_.reset(wait_bpf::open());
  if (!skeleton_) {
    return load_error(errno);
  }
  skeleton_->rodata->threshold_ns = static_cast<__u64>(options_.wait_threshold_ns);
  skeleton_->rodata->sample_period_ns = static_cast<__u64>(options_.sample_period_ns);
  // More may be possible than ever come online, and looking at those would only take turns from the others.
  const std::vector<std::int32_t> online = host::read_kernel().online_cpus;
  skeleton_->rodata->cpu_count = online.empty() ? 1U : static_cast<__u32>(online.back()) + 1U;
  const NapiBudget budget = read_napi_budget();
  skeleton_->rodata->budget_packets = static_cast<__u64>(budget.packets);
  skeleton_->rodata->budget_ns = static_cast<__u64>(budget.duration_ns);
  if (options_.icmp_identifier) {
    skeleton_->rodata->icmp_identifier = __builtin_bswap16(*options_.icmp_identifier);
    skeleton_->rodata->watch_echoes = 1;
  }
  if (options_.syn_token) {
    skeleton_->rodata->syn_token = *options_.syn_token;
    skeleton_->rodata->watch_syns = 1;
  }
  skeleton_->rodata->preempt_count_from_rq_bytes = preempt_count_from_rq_bytes(btf);
  if (skeleton_->rodata->preempt_count_from_rq_bytes == 0) {
    gaps_.push_back({"preempt count", "kernel BTF does not say where it is (before Linux 5.10)",
                     "Bottom halves off cannot be told from other softirq delays."});
  }
  choose_programs(btf);
  if (!options_.icmp_identifier && !options_.syn_token) {
    bpf_program__set_autoload(skeleton_->progs.on_netif_rx, false);
  }
  bpf_map__set_max_entries(skeleton_->maps.events, options_.ring_buffer_bytes);
  if (const int error = wait_bpf::load(skeleton_.get()); error != 0) {
    return load_error(-error);
  }
  base::Result<bpf::RingBuffer> ring =
      bpf::RingBuffer::open(bpf_map__fd(skeleton_->maps.events), [this](const void* record, std::size_t size_bytes) {
        if (sink_status_) {
          sink_status_ = assembler_.on_record(record, size_bytes);
        }
      });
  if (!ring) {
    return ring.error();
  }
  ring_ = std::move(*ring);
  return base::ok();
}

void BpfBackend::choose_programs(const host::Btf& btf) {
  const auto has = [&](host::HookId hook) { return btf.has_tracepoint(std::string(host::hook(hook).name)); };
  const bool flushes_traced = has(host::HookId::cgroup_rstat_locked) && has(host::HookId::cgroup_rstat_unlock);
  const bool flushes_timed = !flushes_traced && btf.has_function("cgroup_rstat_flush_locked") && host::accepts_fentry(btf);
  for (bpf_program* const program : {skeleton_->progs.on_flush_entry, skeleton_->progs.on_flush_exit}) {
    bpf_program__set_autoload(program, flushes_timed);
  }
  for (const TracepointProgram& entry : tracepoint_programs(*skeleton_)) {
    if (has(entry.hook)) {
      continue;
    }
    bpf_program__set_autoload(entry.program, false);
    const bool replaced =
        flushes_timed && (entry.hook == host::HookId::cgroup_rstat_locked || entry.hook == host::HookId::cgroup_rstat_unlock);
    if (!replaced) {
      gaps_.push_back(gap(entry.hook, "this kernel has no such tracepoint"));
    }
  }
}

void BpfBackend::attach_flushes() {
  for (bpf_program* const program : {skeleton_->progs.on_flush_entry, skeleton_->progs.on_flush_exit}) {
    if (!bpf_program__autoload(program)) {
      continue;
    }
    Link link(bpf_program__attach(program));
    if (!link) {
      gaps_.push_back(gap(host::HookId::fentry, base::errno_error("", "", errno).reason));
      continue;
    }
    links_.push_back(std::move(link));
  }
}

base::Status BpfBackend::attach() {
  std::size_t attached_count = 0;
  int last_error = 0;
  for (const TracepointProgram& entry : tracepoint_programs(*skeleton_)) {
    if (!bpf_program__autoload(entry.program)) {
      continue;
    }
    Link link(bpf_program__attach(entry.program));
    if (!link) {
      last_error = errno;
      gaps_.push_back(gap(entry.hook, base::errno_error("", "", last_error).reason));
      continue;
    }
    links_.push_back(std::move(link));
    ++attached_count;
  }
  if (attached_count == 0) {
    return load_error(last_error);
  }
  attach_flushes();
  attach_clocks();
  // The programs' own frames must resolve too, to be recognised and left out of stacks.
  if (const base::Status reloaded = symbols_.reload(); !reloaded || symbols_.addresses_hidden()) {
    gaps_.push_back({"kernel stacks", reloaded ? "/proc/kallsyms shows no addresses" : reloaded.error().reason,
                     "Functions are shown as addresses, and a culprit is known by its task and system call only."});
  }
  return base::ok();
}

int BpfBackend::attach_to_each_cpu(bpf_program* program, const std::function<base::OwnedFd(int cpu)>& open_event) {
  const int cpu_count = libbpf_num_possible_cpus();
  int failed_errno = 0;
  for (int cpu = 0; cpu < cpu_count; ++cpu) {
    base::OwnedFd event = open_event(cpu);
    if (!event) {
      // A possible CPU that is not online has no clock and no packets.
      failed_errno = errno == ENODEV ? failed_errno : errno;
      continue;
    }
    // The descriptor belongs to the link from here on; on failure it is still ours.
    Link link(bpf_program__attach_perf_event(program, event.get()));
    if (!link) {
      failed_errno = errno;
      continue;
    }
    (void)event.release();
    links_.push_back(std::move(link));
  }
  return failed_errno;
}

void BpfBackend::attach_clocks() {
  const int failed_errno =
      attach_to_each_cpu(skeleton_->progs.on_cpu_clock, [this](int cpu) { return open_cpu_clock(cpu, options_.sample_period_ns); });
  if (failed_errno != 0) {
    gaps_.push_back(gap(host::HookId::cpu_clock, base::errno_error("", "", failed_errno).reason));
  }
  // An extra that most virtual machines lack: that is the doctor's to say, not every report's.
  (void)attach_to_each_cpu(skeleton_->progs.on_hardware_cycles,
                           [this](int cpu) { return open_hardware_cycles(cpu, options_.sample_period_ns); });
}

base::Status BpfBackend::drain(int timeout_ms) {
  base::Result<bool> left = ring_->poll(timeout_ms);
  if (left && !*left) {
    // Records do not end the wait unless the buffer fills (see submit_event).
    left = ring_->consume();
  }
  if (!left) {
    return left.error();
  }
  if (!sink_status_) {
    return sink_status_.error();
  }
  // While records are left, what completes a wait may be among them, however long ago it ended.
  return *left ? base::ok() : assembler_.settle(base::monotonic_ns());
}

base::Status BpfBackend::stop() {
  links_.clear();
  // Nothing is added any more, so this ends.
  base::Result<bool> left = true;
  while (left && *left) {
    left = ring_->consume();
  }
  if (!left) {
    return left.error();
  }
  lost_at_stop_ = lost_count();
  if (!sink_status_) {
    return sink_status_.error();
  }
  return assembler_.finish();
}

std::int64_t BpfBackend::lost_count() const {
  if (lost_at_stop_ >= 0) {
    return lost_at_stop_;
  }
  const std::uint32_t key = TRACE_COUNTER_LOST;
  std::vector<std::uint64_t> per_cpu(static_cast<std::size_t>(std::max(libbpf_num_possible_cpus(), 1)));
  std::int64_t total = 0;
  if (bpf_map_lookup_elem(bpf_map__fd(skeleton_->maps.counters), &key, per_cpu.data()) == 0) {
    for (const std::uint64_t count : per_cpu) {
      total += static_cast<std::int64_t>(count);
    }
  }
  return total;
}

std::vector<evidence::LossRecord> BpfBackend::losses() const {
  std::vector<evidence::LossRecord> losses;
  if (const std::int64_t lost = lost_count(); lost > 0) {
    losses.push_back({"the tracer's ring buffer was full", lost});
  }
  if (assembler_.malformed_count() > 0) {
    losses.push_back({"the tracer's records were malformed", assembler_.malformed_count()});
  }
  return losses;
}

base::Result<std::unique_ptr<Backend>> start_bpf(const TracerOptions& options, Sink& sink) {
  bpf::capture_library_messages();
  const base::Result<host::Btf> btf = host::Btf::load();
  if (!btf) {
    return btf.error();
  }
  base::Result<host::KernelSymbols> symbols = host::KernelSymbols::load();
  if (!symbols) {
    return symbols.error();
  }
  auto backend = std::make_unique<BpfBackend>(options, sink, std::move(*symbols));
  if (const base::Status loaded = backend->load(*btf); !loaded) {
    return loaded.error();
  }
  if (const base::Status attached = backend->attach(); !attached) {
    return attached.error();
  }
  return std::unique_ptr<Backend>(std::move(backend));
}

/// Perf events where BPF cannot be used, and why that is so as a gap.
class SecondChoice : public Backend {
 public:
  SecondChoice(std::unique_ptr<Backend> perf, const base::Error& bpf_error) : perf_(std::move(perf)), gaps_(perf_->gaps()) {
    gaps_.insert(gaps_.begin(), {"tracing by BPF", bpf_error.reason, "Perf events are used instead, which show less."});
  }
  base::Status drain(int timeout_ms) override { return perf_->drain(timeout_ms); }
  base::Status stop() override { return perf_->stop(); }
  [[nodiscard]] const std::vector<evidence::GapRecord>& gaps() const override { return gaps_; }
  [[nodiscard]] std::vector<evidence::LossRecord> losses() const override { return perf_->losses(); }

 private:
  std::unique_ptr<Backend> perf_;
  std::vector<evidence::GapRecord> gaps_;
};

base::Result<std::unique_ptr<Backend>> start_either(const TracerOptions& options, Sink& sink) {
  base::Result<std::unique_ptr<Backend>> bpf = start_bpf(options, sink);
  if (bpf) {
    return bpf;
  }
  base::Result<std::unique_ptr<Backend>> perf = perf::start(options, sink);
  if (perf) {
    return std::unique_ptr<Backend>(std::make_unique<SecondChoice>(std::move(*perf), bpf.error()));
  }
  base::Error error = bpf.error();
  error.reason += "; and without BPF: " + perf.error().reason;
  return error;
}

}  // namespace

Tracer::Tracer(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}
Tracer::Tracer(Tracer&&) noexcept = default;
Tracer& Tracer::operator=(Tracer&&) noexcept = default;
Tracer::~Tracer() = default;

base::Result<Tracer> Tracer::start(const TracerOptions& options, Sink& sink) {
  base::Result<std::unique_ptr<Backend>> backend = options.backend == BackendChoice::bpf    ? start_bpf(options, sink)
                                                   : options.backend == BackendChoice::perf ? perf::start(options, sink)
                                                                                            : start_either(options, sink);
  if (!backend) {
    return backend.error();
  }
  return Tracer(std::move(*backend));
}

base::Status Tracer::drain(int timeout_ms) {
  return backend_->drain(timeout_ms);
}

base::Status Tracer::stop() {
  return backend_->stop();
}

const std::vector<evidence::GapRecord>& Tracer::gaps() const {
  return backend_->gaps();
}

std::vector<evidence::LossRecord> Tracer::losses() const {
  return backend_->losses();
}

}  // namespace stallscope::trace
