// SPDX-License-Identifier: Apache-2.0
#include "diagnose/stacks.h"

#include <algorithm>
#include <array>

namespace stallscope::diagnose {
namespace {

// How every system call and every kernel thread begins (arch/x86/entry, kernel/kthread.c, kernel/fork.c).
constexpr std::array<std::string_view, 10> outer_noise = {"entry_SYSCALL_64_after_hwframe",
                                                          "entry_SYSCALL_64",
                                                          "do_syscall_64",
                                                          "x64_sys_call",
                                                          "ret_from_fork_asm",
                                                          "ret_from_fork",
                                                          "kthread",
                                                          "secondary_startup_64_no_verify",
                                                          "irq_exit_rcu",
                                                          "__irq_exit_rcu"};
constexpr std::array<std::string_view, 6> outer_prefixes = {"__x64_sys_", "asm_sysvec_",          "sysvec_",
                                                            "__sysvec_",  "asm_common_interrupt", "common_interrupt"};

// Where interrupts or softirqs come back and a stack can be taken at last: the end of the work, not the work. In a guest whose
// hypervisor replaces the instruction, interrupts are let in by functions of its own (arch/x86/include/asm/paravirt.h, 6.18;
// arch/x86/xen/irq.c).
constexpr std::array<std::string_view, 8> release_prefixes = {"_raw_spin_unlock",  "_raw_read_unlock",    "_raw_write_unlock",
                                                              "__local_bh_enable", "__raw_callee_save_",  "pvm_irq_enable",
                                                              "xen_irq_enable",    "pv_native_irq_enable"};

// Where a stack ends that was taken by a tracing program.
constexpr std::array<std::string_view, 5> tracer_prefixes = {"bpf_prog_", "bpf_trace_run", "__bpf_trace_", "__traceiter_",
                                                             "bpf_get_stack"};

// Taking a lock: whose lock it is tells more.
constexpr std::array<std::string_view, 5> lock_prefixes = {"_raw_spin_lock", "_raw_read_lock", "_raw_write_lock",
                                                           "native_queued_spin_lock", "queued_spin_lock"};

// Looking at the clock: who looks, again and again, tells more.
constexpr std::array<std::string_view, 4> clock_prefixes = {"read_tsc", "ktime_get", "kvm_clock_get_cycles", "pvclock_"};

template <std::size_t Count>
bool starts_with_any(std::string_view name, const std::array<std::string_view, Count>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view prefix) { return name.starts_with(prefix); });
}

bool is_interrupt_entry(std::string_view name) {
  return name.starts_with("asm_sysvec_") || name.starts_with("asm_common_interrupt") || name.starts_with("asm_exc_nmi");
}

/// How many of the innermost frames belong to the timer interrupt by which the stack was taken. Any other interrupt, and one that
/// went on to run softirqs, is part of the story and stays.
std::size_t interrupt_depth(const std::vector<std::string>& frames) {
  const auto entry =
      std::find_if(frames.begin(), frames.end(), [](const std::string& frame) { return is_interrupt_entry(function_name(frame)); });
  if (entry == frames.end()) {
    return 0;
  }
  const auto inside = [&](auto matches) {
    return std::any_of(frames.begin(), entry, [&](const std::string& frame) { return matches(function_name(frame)); });
  };
  const bool ran_softirqs = inside([](std::string_view name) { return name.find("softirq") != std::string_view::npos; });
  const bool took_the_stack = inside([](std::string_view name) {
    return name.find("hrtimer") != std::string_view::npos || starts_with_any(name, tracer_prefixes);
  });
  return took_the_stack && !ran_softirqs ? static_cast<std::size_t>(entry - frames.begin()) + 1 : 0;
}

}  // namespace

StackTable::StackTable(const evidence::Evidence& evidence) {
  for (const evidence::StackRecord& stack : evidence.stacks) {
    stacks_.emplace(stack.id, &stack.frames);
  }
}

const std::vector<std::string>* StackTable::frames(std::int64_t stack_id) const {
  const auto found = stacks_.find(stack_id);
  return stack_id == 0 || found == stacks_.end() ? nullptr : found->second;
}

std::string_view function_name(std::string_view frame) {
  return frame.substr(0, frame.find_first_of("+. "));
}

std::vector<std::string_view> telling_functions(const std::vector<std::string>& frames) {
  std::vector<std::string_view> functions;
  for (std::size_t index = interrupt_depth(frames); index < frames.size(); ++index) {
    functions.push_back(function_name(frames[index]));
  }
  // Programs that no tracing hook called are the work itself, such as one of XDP.
  const auto traced = std::find_if(functions.begin(), functions.end(),
                                   [](std::string_view name) { return !starts_with_any(name, tracer_prefixes); });
  if (std::any_of(functions.begin(), traced, [](std::string_view name) { return !name.starts_with("bpf_prog_"); })) {
    functions.erase(functions.begin(), traced);
  }
  const auto innermost = std::find_if(functions.begin(), functions.end(),
                                      [](std::string_view name) { return !starts_with_any(name, release_prefixes); });
  functions.erase(functions.begin(), innermost);
  const auto is_entry = [](std::string_view name) {
    return starts_with_any(name, outer_prefixes) || std::find(outer_noise.begin(), outer_noise.end(), name) != outer_noise.end();
  };
  while (!functions.empty() && is_entry(functions.back())) {
    functions.pop_back();
  }
  std::reverse(functions.begin(), functions.end());
  return functions;
}

std::string_view working_function(const std::vector<std::string>& frames) {
  const std::vector<std::string_view> functions = telling_functions(frames);
  const auto found = std::find_if(functions.rbegin(), functions.rend(), [](std::string_view name) {
    return !starts_with_any(name, lock_prefixes) && !starts_with_any(name, clock_prefixes);
  });
  return found == functions.rend() ? std::string_view{} : *found;
}

}  // namespace stallscope::diagnose
