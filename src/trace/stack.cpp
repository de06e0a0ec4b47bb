// SPDX-License-Identifier: Apache-2.0
#include "trace/stack.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "evidence/syscalls.h"

namespace stallscope::trace {
namespace {

/// Entries of hardware interrupts on x86_64 (arch/x86/include/asm/idtentry.h, Linux 5.8; arch/x86/entry/entry_64.S before).
/// Exceptions such as asm_exc_page_fault are the task's own doing and stay.
bool is_interrupt_entry(std::string_view function) {
  constexpr std::array<std::string_view, 9> before_5_8 = {
      "apic_timer_interrupt", "call_function_interrupt", "call_function_single_interrupt",
      "common_interrupt",     "hyperv_callback_vector",  "irq_work_interrupt",
      "reschedule_interrupt", "ret_from_intr",           "xen_hvm_callback_vector"};
  if (std::find(before_5_8.begin(), before_5_8.end(), function) != before_5_8.end()) {
    return true;
  }
  return function.starts_with("asm_sysvec_") || function == "asm_common_interrupt" || function == "asm_spurious_interrupt" ||
         function == "asm_fred_entrypoint_kernel";
}

bool is_tracing_machinery(std::string_view function) {
  constexpr std::array<std::string_view, 6> prefixes = {"bpf_prog_",    "bpf_get_stack", "bpf_trace_run",
                                                        "__bpf_trace_", "__traceiter_",  "bpf_trampoline_"};
  return std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view prefix) { return function.starts_with(prefix); });
}

bool is_system_call_entry(std::string_view function) {
  return function == "do_syscall_64" || function == "entry_SYSCALL_64_after_hwframe" || function == "x64_sys_call" ||
         function == "system_call_fastpath" || function == "entry_SYSCALL_64_fastpath";
}

std::optional<std::int32_t> implemented_call(std::string_view function) {
  // Up to 4.16 (fa697140f9a2) sys_ and SyS_; the entry may have jumped on into what it shares with the kernel's own callers.
  constexpr std::array<std::string_view, 7> prefixes = {"__x64_sys_", "__do_sys_", "__se_sys_", "ksys_", "SyS_", "SYSC_", "sys_"};
  const auto* const prefix =
      std::find_if(prefixes.begin(), prefixes.end(), [&](std::string_view known) { return function.starts_with(known); });
  return prefix == prefixes.end() ? std::nullopt : evidence::syscall_of_function(function.substr(prefix->size()));
}

std::vector<std::string> names(std::span<const std::uint64_t> addresses, const SymbolLookup& lookup) {
  std::vector<std::string> functions;
  functions.reserve(addresses.size());
  for (const std::uint64_t address : addresses) {
    const std::string_view function = lookup(address);
    functions.push_back(function.empty() ? fmt::format("{:#x}", address) : std::string(function));
  }
  return functions;
}

bool leads_to_system_call(const std::vector<std::string>& frames) {
  return std::any_of(frames.begin(), frames.end(), is_system_call_entry);
}

}  // namespace

std::optional<std::int32_t> system_call_of(std::span<const std::string> frames) {
  // From outside: what the system call itself calls may have such a name as well.
  const auto frame = std::find_if(frames.rbegin(), frames.rend(),
                                  [](const std::string& function) { return implemented_call(function).has_value(); });
  return frame == frames.rend() ? std::nullopt : implemented_call(*frame);
}

KernelStack interrupted_stack(std::span<const std::uint64_t> addresses, const SymbolLookup& lookup) {
  KernelStack stack;
  stack.frames = names(addresses, lookup);
  const auto outermost_entry = std::find_if(stack.frames.rbegin(), stack.frames.rend(), is_interrupt_entry);
  if (outermost_entry != stack.frames.rend()) {
    stack.interrupted = true;
    stack.frames.erase(stack.frames.begin(), outermost_entry.base());
  }
  const auto first = std::find_if_not(stack.frames.begin(), stack.frames.end(), is_tracing_machinery);
  stack.frames.erase(stack.frames.begin(), first);
  stack.in_system_call = leads_to_system_call(stack.frames);
  return stack;
}

KernelStack raw_stack(std::span<const std::uint64_t> addresses, const SymbolLookup& lookup) {
  KernelStack stack;
  for (const std::uint64_t address : addresses) {
    const std::string_view function = lookup(address);
    if (!function.empty() && (stack.frames.empty() || stack.frames.back() != function)) {
      stack.frames.emplace_back(function);
    }
  }
  std::reverse(stack.frames.begin(), stack.frames.end());
  stack.in_system_call = leads_to_system_call(stack.frames);
  return stack;
}

KernelStack plain_stack(std::span<const std::uint64_t> addresses, const SymbolLookup& lookup) {
  KernelStack stack;
  stack.frames = names(addresses, lookup);
  stack.in_system_call = leads_to_system_call(stack.frames);
  return stack;
}

}  // namespace stallscope::trace
