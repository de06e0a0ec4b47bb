// SPDX-License-Identifier: Apache-2.0
// How each hook of the table is tested for.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/owned_fd.h"
#include "host/btf.h"
#include "host/hooks.h"

namespace stallscope::host {
namespace {

struct Outcome {
  Presence presence = Presence::unknown;
  std::string reason;
};

Outcome present() {
  return {Presence::present, ""};
}

Outcome found(std::optional<bool> exists, std::string reason_if_absent) {
  if (!exists) {
    return {Presence::unknown, "may not be looked at without more privileges"};
  }
  return *exists ? present() : Outcome{Presence::absent, std::move(reason_if_absent)};
}

std::string not_in_kernel(HookId id) {
  return "not in this kernel (first in Linux " + std::string(hook(id).since) + ")";
}

/// What the tests look at.
struct Machine {
  const FileTree& files;
  const base::Result<Btf>& btf;
};

std::optional<std::string> tracing_directory(const FileTree& files) {
  for (const char* directory : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    const std::string events = std::string(directory) + "/events";
    if (files.exists(events).value_or(false)) {
      return events;
    }
  }
  return std::nullopt;
}

Outcome test_tracepoint(const Machine& machine, HookId id, std::string_view group) {
  const std::string name(hook(id).name);
  if (machine.btf) {
    // The kernels that a tracer can run on have had most tracepoints for ever: an absent one was left out when it was built.
    const bool newer_than_typed = hook(id).since != hook(HookId::softirq_raise).since;
    return found(machine.btf->has_tracepoint(name), newer_than_typed ? not_in_kernel(id) : "left out of this kernel's build");
  }
  if (const std::optional<std::string> events = tracing_directory(machine.files)) {
    return found(machine.files.exists(*events + "/" + std::string(group) + "/" + name), not_in_kernel(id));
  }
  return {Presence::unknown, "cannot be tested without kernel BTF or tracefs"};
}

Outcome test_enumerator(const Machine& machine, HookId id, const char* enumeration, const char* enumerator) {
  if (!machine.btf) {
    return {Presence::unknown, "cannot be tested without kernel BTF"};
  }
  return found(machine.btf->has_enumerator(enumeration, enumerator), not_in_kernel(id));
}

Outcome test_hardware_pmu(const Machine& machine) {
  // Named "cpu" everywhere but on hybrid processors. Not registered where a hypervisor shows no counters.
  for (const char* pmu : {"/sys/bus/event_source/devices/cpu", "/sys/bus/event_source/devices/cpu_core"}) {
    if (machine.files.exists(pmu).value_or(false)) {
      return present();
    }
  }
  return {Presence::absent, "this machine shows no performance counters"};
}

/// Opens the event for this very thread, which any user may do, so that the answer is the kernel's and not the privileges'.
Outcome test_cpu_clock(const Machine& machine) {
  if (!machine.files.is_live()) {
    return found(machine.files.exists("/sys/bus/event_source/devices/software"), "built without perf events");
  }
  perf_event_attr attributes{};
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.size = sizeof attributes;
  attributes.config = PERF_COUNT_SW_CPU_CLOCK;
  attributes.disabled = 1;
  attributes.exclude_kernel = 1;
  const base::OwnedFd event(static_cast<int>(::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC)));
  if (event) {
    return present();
  }
  const int reason = errno;
  const bool refused = reason == EPERM || reason == EACCES;
  return {refused ? Presence::unknown : Presence::absent, std::string("perf_event_open: ") + std::strerror(reason)};
}

/// A trampoline in the kernel's symbols does not prove that this kernel accepts fentry programs, so one is attached.
Outcome attach_fentry(const Btf& btf) {
  constexpr const char* target = "bpf_fentry_test1";
  const int function = btf__find_by_name_kind(btf.get(), target, BTF_KIND_FUNC);
  if (function < 0) {
    return {Presence::absent, not_in_kernel(HookId::fentry)};
  }
  // "return 0", in the encoding of include/uapi/linux/bpf.h.
  constexpr std::array<bpf_insn, 2> program = {{{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}}};
  const auto load = [&](bpf_attach_type attach_type, int type_id) {
    bpf_prog_load_opts options{};
    options.sz = sizeof options;
    options.expected_attach_type = attach_type;
    options.attach_btf_id = static_cast<std::uint32_t>(type_id);
    return base::OwnedFd(bpf_prog_load(BPF_PROG_TYPE_TRACING, "stallscope_test", "GPL", program.data(), program.size(), &options));
  };
  const base::OwnedFd loaded = load(BPF_TRACE_FENTRY, function);
  int reason = errno;
  if (loaded) {
    const base::OwnedFd link(bpf_raw_tracepoint_open(nullptr, loaded.get()));
    reason = errno;
    if (link) {
      return present();
    }
  }
  // Without the privileges to trace at all the refusal says nothing about fentry: a typed tracepoint tells the two apart.
  const int typedef_id = btf__find_by_name_kind(btf.get(), "btf_trace_softirq_entry", BTF_KIND_TYPEDEF);
  if (typedef_id < 0 || !load(BPF_TRACE_RAW_TP, typedef_id)) {
    return {Presence::unknown, "cannot be tested without the privileges to trace"};
  }
  return {Presence::absent, std::string("this kernel refuses fentry programs: ") + std::strerror(reason)};
}

Outcome test_fentry(const Machine& machine) {
  if (!machine.files.is_live()) {
    return {Presence::unknown, "can only be tested on the machine itself"};
  }
  return machine.btf ? attach_fentry(*machine.btf) : Outcome{Presence::unknown, "cannot be tested without kernel BTF"};
}

Outcome test_tracefs(const Machine& machine) {
  for (const char* mount_point : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    const std::optional<bool> mounted = machine.files.exists(std::string(mount_point) + "/events");
    if (!mounted || *mounted) {
      return found(mounted, "");
    }
  }
  return {Presence::absent, "not mounted"};
}

Outcome test_kernel_btf(const Machine& machine) {
  return machine.btf ? present() : Outcome{Presence::absent, machine.btf.error().reason};
}

Outcome test_hook(const Machine& machine, HookId id) {
  switch (id) {
    case HookId::kernel_btf:
      return test_kernel_btf(machine);
    case HookId::ring_buffer:
      return test_enumerator(machine, id, "bpf_map_type", "BPF_MAP_TYPE_RINGBUF");
    case HookId::hrtimer_expire_entry:
      return test_tracepoint(machine, id, "timer");
    case HookId::softirq_raise:
    case HookId::softirq_entry:
    case HookId::softirq_exit:
      return test_tracepoint(machine, id, "irq");
    case HookId::sched_switch:
    case HookId::sched_wakeup:
      return test_tracepoint(machine, id, "sched");
    case HookId::netif_receive_skb:
    case HookId::netif_rx_entry:
      return test_tracepoint(machine, id, "net");
    case HookId::napi_poll:
      return test_tracepoint(machine, id, "napi");
    case HookId::cgroup_rstat_locked:
    case HookId::cgroup_rstat_unlock:
      return test_tracepoint(machine, id, "cgroup");
    case HookId::cpu_clock:
      return test_cpu_clock(machine);
    case HookId::hardware_pmu:
      return test_hardware_pmu(machine);
    case HookId::fentry:
      return test_fentry(machine);
    case HookId::kprobes:
      return found(machine.files.exists("/sys/bus/event_source/devices/kprobe"), "built without kprobes");
    case HookId::syscall_program:
      return test_enumerator(machine, id, "bpf_prog_type", "BPF_PROG_TYPE_SYSCALL");
    case HookId::bpf_loop:
      return test_enumerator(machine, id, "bpf_func_id", "BPF_FUNC_loop");
    case HookId::tracefs:
      return test_tracefs(machine);
  }
  return {};
}

}  // namespace

bool accepts_fentry(const Btf& btf) {
  return attach_fentry(btf).presence == Presence::present;
}

std::vector<HookState> probe_hooks(const FileTree& files) {
  const base::Result<Btf> btf = Btf::load(files);
  const Machine machine{files, btf};
  std::vector<HookState> states;
  for (const Hook& each : all_hooks()) {
    Outcome outcome = test_hook(machine, each.id);
    states.push_back({each.id, outcome.presence, std::move(outcome.reason)});
  }
  return states;
}

}  // namespace stallscope::host
