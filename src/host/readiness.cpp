// SPDX-License-Identifier: Apache-2.0
#include "host/readiness.h"

#include <algorithm>
#include <array>

#include "host/symbols.h"

namespace stallscope::host {
namespace {

constexpr std::string_view run_as_root =
    "run as root (sudo), or with CAP_BPF, CAP_PERFMON, CAP_SYSLOG, CAP_NET_RAW and CAP_NET_ADMIN";

Check test_tracing(const Capabilities& capabilities) {
  Check check{
      "privilege to trace", Need::essential, Presence::present, "allows to load the tracer into the kernel", "", "", "", "", ""};
  if (!capabilities.effective) {
    check.presence = Presence::unknown;
    check.reason = "/proc/self/status could not be read";
    check.advice = "mount proc: mount -t proc proc /proc";
  } else if (capabilities.lockdown == Lockdown::confidentiality) {
    check.presence = Presence::absent;
    check.reason = "the kernel is locked down (confidentiality)";
    check.advice = "boot without lockdown=confidentiality";
  } else if (!capabilities.can_trace()) {
    check.presence = Presence::absent;
    check.reason = "needs CAP_BPF and CAP_PERFMON";
    check.advice = run_as_root;
  }
  check.cost = "No wait can be observed: no tracer starts.";
  return check;
}

Check test_raw_sockets(const Capabilities& capabilities) {
  Check check{"privilege to probe", Need::wanted, Presence::present, "allows to send ICMP echoes", "", "", "", "", ""};
  if (!capabilities.effective) {
    check.presence = Presence::unknown;
    check.reason = "/proc/self/status could not be read";
  } else if (!capabilities.can_open_raw_sockets()) {
    check.presence = Presence::absent;
    check.reason = "needs CAP_NET_RAW";
    check.advice = run_as_root;
  }
  check.cost = "No target can be probed; the node's own traffic can still be watched.";
  return check;
}

Check test_sampling(const Capabilities& capabilities) {
  Check check{
      "privilege to sample CPUs", Need::wanted, Presence::present, "allows to sample all tasks of a CPU", "", "", "", "", ""};
  if (!capabilities.can_sample_cpus()) {
    check.presence = capabilities.effective ? Presence::absent : Presence::unknown;
    check.reason = "needs CAP_PERFMON";
    check.advice = run_as_root;
  }
  check.cost = std::string(hook(HookId::cpu_clock).cost);
  return check;
}

Check test_symbols(const HostFacts& facts) {
  Check check{
      "kernel symbols", Need::wanted, facts.symbols.presence, "names kernel functions", facts.symbols.reason, "", "", "", ""};
  check.cost = "Kernel stacks cannot be named, so no cause is found from them.";
  if (check.presence == Presence::absent) {
    check.advice = facts.capabilities.kptr_restrict.value_or(0) > 1 ? "show kernel addresses to root: sysctl kernel.kptr_restrict=1"
                                                                    : std::string(run_as_root);
  }
  return check;
}

Check test_memory_cgroups(const CgroupHierarchy& memory_cgroups) {
  Check check{"memory cgroups", Need::wanted, Presence::present, "are counted, live and dying", "", "", "", "", ""};
  if (memory_cgroups.version != 0) {
    check.purpose += ": version " + std::to_string(memory_cgroups.version) + " at " + memory_cgroups.mount_point;
  } else {
    check.presence = Presence::absent;
    check.reason = memory_cgroups.reason;
    check.advice = "if the node uses memory cgroups, run stallscope where its /sys/fs/cgroup is visible";
  }
  check.cost = "No census of memory cgroups, and the cost of memory.stat is not measured.";
  return check;
}

Check test_system_calls(const Kernel& kernel) {
  Check check{
      "system call decoding", Need::wanted, Presence::present, "names the system call and the file behind it", "", "", "", "", ""};
  if (kernel.architecture.empty()) {
    check.presence = Presence::unknown;
    check.reason = "the architecture could not be read";
  } else if (!kernel.decodes_system_calls()) {
    check.presence = Presence::absent;
    check.reason = "known for x86_64 only, this is " + kernel.architecture;
  }
  check.cost = "System calls are shown by number, without the file.";
  return check;
}

std::string hook_advice(HookId id, Presence presence) {
  if (presence != Presence::absent) {
    return {};
  }
  switch (id) {
    case HookId::kernel_btf:
      return "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian 11, Ubuntu 20.10, RHEL 8.2 and later have it)";
    case HookId::tracefs:
      return "mount tracefs: mount -t tracefs tracefs /sys/kernel/tracing";
    case HookId::hardware_pmu:
      return "give the virtual machine a vPMU if NMI samples are wanted";
    default:
      return {};
  }
}

Presence presence_of(const std::vector<HookState>& states, HookId id) {
  const auto found = std::find_if(states.begin(), states.end(), [&](const HookState& state) { return state.id == id; });
  return found == states.end() ? Presence::unknown : found->presence;
}

bool can_use_bpf(const std::vector<HookState>& states) {
  return presence_of(states, HookId::kernel_btf) == Presence::present &&
         presence_of(states, HookId::ring_buffer) == Presence::present;
}

/// By what diagnose watches the kernel here. Which of the tracepoints there are is each one's own check.
Check test_tracer(const std::vector<HookState>& states) {
  Check check{"tracer", Need::essential, Presence::present, "", "", "", "", "", ""};
  if (can_use_bpf(states)) {
    check.purpose = "is BPF programs, which show most";
    return check;
  }
  check.presence = presence_of(states, HookId::cpu_clock);
  check.purpose =
      "is perf events: without files of system calls, stolen time of a wait, packets of probes, and whether bottom halves were off";
  check.reason = check.presence == Presence::present ? "" : "BPF cannot be used here, and perf events need perf cpu-clock";
  check.cost = "No wait can be observed.";
  return check;
}

Check check_hook(const HookState& state) {
  const Hook& about = hook(state.id);
  return {std::string(about.name),
          about.need,
          state.presence,
          std::string(about.purpose),
          state.reason,
          std::string(about.cost),
          hook_advice(state.id, state.presence),
          std::string(about.since),
          std::string(about.commit)};
}

SymbolFacts find_symbols(const FileTree& files) {
  const base::Result<KernelSymbols> symbols = KernelSymbols::load(files);
  if (!symbols) {
    return {Presence::unknown, symbols.error().message()};
  }
  if (symbols->addresses_hidden()) {
    return {Presence::absent, "the kernel hides its addresses from this process"};
  }
  if (symbols->function_count() == 0) {
    return {Presence::absent, "/proc/kallsyms lists no function"};
  }
  return {Presence::present, ""};
}

Verdict find_verdict(const std::vector<Check>& checks) {
  Verdict verdict = Verdict::ready;
  for (const Check& check : checks) {
    if (check.presence == Presence::present) {
      continue;
    }
    if (check.need == Need::essential) {
      return Verdict::unable;
    }
    if (check.need == Need::wanted) {
      verdict = Verdict::partial;
    }
  }
  return verdict;
}

/// What helps more important checks first.
std::vector<std::string> collect_advice(const std::vector<Check>& checks) {
  std::vector<std::string> advice;
  for (const Need need : {Need::essential, Need::wanted, Need::extra}) {
    for (const Check& check : checks) {
      if (check.need == need && !check.advice.empty() && std::find(advice.begin(), advice.end(), check.advice) == advice.end()) {
        advice.push_back(check.advice);
      }
    }
  }
  return advice;
}

}  // namespace

HostFacts gather_facts(const FileTree& files) {
  HostFacts facts;
  facts.kernel = read_kernel(files);
  facts.capabilities = read_capabilities(files);
  facts.memory_cgroups = find_memory_cgroups(files);
  facts.symbols = find_symbols(files);
  facts.hooks = probe_hooks(files);
  return facts;
}

Readiness assess(const HostFacts& facts) {
  Readiness readiness;
  readiness.checks = {test_tracing(facts.capabilities),  test_raw_sockets(facts.capabilities),
                      test_sampling(facts.capabilities), test_symbols(facts),
                      test_system_calls(facts.kernel),   test_memory_cgroups(facts.memory_cgroups),
                      test_tracer(facts.hooks)};
  for (const HookState& state : facts.hooks) {
    // By perf events the CPU clock's own lateness is seen.
    if (state.id == HookId::hrtimer_expire_entry && !can_use_bpf(facts.hooks)) {
      continue;
    }
    readiness.checks.push_back(check_hook(state));
  }
  for (Check& check : readiness.checks) {
    if (check.presence == Presence::present) {
      check.cost.clear();
    }
    // With BPF nothing is gained from tracefs.
    if (can_use_bpf(facts.hooks) && check.name == hook(HookId::tracefs).name) {
      check.advice.clear();
    }
  }
  readiness.verdict = find_verdict(readiness.checks);
  readiness.advice = collect_advice(readiness.checks);
  return readiness;
}

std::string_view verdict_name(Verdict verdict) {
  constexpr std::array<std::string_view, 3> names = {"ready", "partial", "unable"};
  return names.at(static_cast<std::size_t>(verdict));
}

}  // namespace stallscope::host
