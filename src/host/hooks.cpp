// SPDX-License-Identifier: Apache-2.0
#include "host/hooks.h"

#include <array>

namespace stallscope::host {
namespace {

constexpr std::string_view typed_since = "5.5";
constexpr std::string_view typed_commit = "e8c423fb31fa";

constexpr std::array<Hook, 20> hooks = {{
    {HookId::kernel_btf, "kernel BTF", Need::wanted, "describes this kernel's types, so that one tracer fits every kernel",
     "BPF cannot be used; perf events show less.", "5.4", "341dfcf8d78e"},
    {HookId::ring_buffer, "BPF ring buffer", Need::wanted, "carries what was observed out of the kernel, in order",
     "BPF cannot be used; perf events show less.", "5.8", "457f44363a88"},
    {HookId::hrtimer_expire_entry, "hrtimer_expire_entry", Need::wanted, "shows by late timers that hard IRQs were off",
     "Stalls with hard IRQs off, and a stolen vCPU, stay invisible.", typed_since, typed_commit},
    {HookId::softirq_raise, "softirq_raise", Need::wanted, "tells since when received packets wait for NET_RX",
     "Waits with softirqs disabled or left to ksoftirqd stay invisible.", typed_since, typed_commit},
    {HookId::softirq_entry, "softirq_entry", Need::wanted, "tells when a CPU begins to serve a softirq",
     "No wait for a softirq can be measured.", typed_since, typed_commit},
    {HookId::softirq_exit, "softirq_exit", Need::wanted, "tells how long a softirq vector ran",
     "Long NET_RX work and long runs of other vectors stay invisible.", typed_since, typed_commit},
    {HookId::sched_switch, "sched_switch", Need::wanted, "tells which task has a CPU, and when ksoftirqd gets it",
     "Who ran instead of a waiting ksoftirqd or NAPI thread is not known.", typed_since, typed_commit},
    {HookId::sched_wakeup, "sched_wakeup", Need::wanted, "tells since when ksoftirqd or a NAPI thread wants a CPU",
     "A ksoftirqd kept waiting cannot be told from one with nothing to do.", typed_since, typed_commit},
    {HookId::netif_receive_skb, "netif_receive_skb", Need::wanted, "tells which CPU received a probe, and when",
     "A late probe is matched to a wait by time alone.", typed_since, typed_commit},
    {HookId::netif_rx_entry, "netif_rx_entry", Need::extra, "tells when a packet entered a software queue",
     "How long a packet lay in a software queue is not known.", typed_since, typed_commit},
    {HookId::napi_poll, "napi_poll", Need::extra, "tells how much of its budget a NAPI poll used",
     "A used-up NAPI budget shows only as time_squeeze in softnet_stat.", typed_since, typed_commit},
    {HookId::cgroup_rstat_locked, "cgroup_rstat_locked", Need::extra, "tells when a flush of cgroup statistics begins",
     "Without fentry, flushes of cgroup statistics are known by their stack only, not timed.", "6.10", "fc29e04ae1ad"},
    {HookId::cgroup_rstat_unlock, "cgroup_rstat_unlock", Need::extra, "tells when a flush of cgroup statistics ends",
     "Without fentry, flushes of cgroup statistics are known by their stack only, not timed.", "6.10", "fc29e04ae1ad"},
    {HookId::cpu_clock, "perf cpu-clock", Need::wanted, "samples the stack of whatever keeps packets waiting",
     "Kernel functions are known only for stalls with hard IRQs off.", "4.9", "0515e5999a46"},
    {HookId::hardware_pmu, "hardware PMU (NMI)", Need::extra, "samples stacks even while hard IRQs are off",
     "With hard IRQs off, the stack is seen only once, when they come back.", "4.9", "0515e5999a46"},
    {HookId::fentry, "fentry", Need::extra, "times flushes of cgroup statistics where they have no tracepoint",
     "Before Linux 6.10, flushes of cgroup statistics are known by their stack only, not timed.", "5.5", "fec56f5890d9"},
    {HookId::kprobes, "kprobes", Need::extra, "would show functions without a tracepoint; not used",
     "Nothing is lost: they are not used.", "4.17", "e12f03d7031a"},
    {HookId::syscall_program, "BPF syscall programs", Need::extra, "runs the census of memory cgroups in the kernel",
     "Dying memory cgroups are known from the kernel's own counts only.", "5.14", "79a7f8bdb159"},
    {HookId::bpf_loop, "bpf_loop", Need::extra, "walks long lists in one run of a program",
     "Long walks are made in shorter pieces.", "5.17", "e6f2dd0f8067"},
    {HookId::tracefs, "tracefs", Need::extra, "lists tracepoints where the kernel has no BTF",
     "Without BTF it is not known beforehand which tracepoints there are; diagnose mounts it for itself.", "4.1", ""},
}};

constexpr bool in_order_of_ids() {
  for (std::size_t i = 0; i < hooks.size(); ++i) {
    if (static_cast<std::size_t>(hooks.at(i).id) != i) {
      return false;
    }
  }
  return true;
}
static_assert(in_order_of_ids());

}  // namespace

std::span<const Hook> all_hooks() {
  return hooks;
}

const Hook& hook(HookId id) {
  return hooks.at(static_cast<std::size_t>(id));
}

std::string_view presence_name(Presence presence) {
  constexpr std::array<std::string_view, 3> names = {"present", "absent", "unknown"};
  return names.at(static_cast<std::size_t>(presence));
}

std::string_view need_name(Need need) {
  constexpr std::array<std::string_view, 3> names = {"essential", "wanted", "extra"};
  return names.at(static_cast<std::size_t>(need));
}

}  // namespace stallscope::host
