// SPDX-License-Identifier: Apache-2.0
#include "trace/stack.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace stallscope::trace {
namespace {

/// Entries of hardware interrupts on x86_64 (arch/x86/include/asm/idtentry.h, Linux 5.8). Exceptions such as asm_exc_page_fault are
/// the task's own doing and stay.
bool is_interrupt_entry(std::string_view function) {
  return function.starts_with("asm_sysvec_") || function == "asm_common_interrupt" || function == "asm_spurious_interrupt" ||
         function == "asm_fred_entrypoint_kernel";
}

bool is_tracing_machinery(std::string_view function) {
  constexpr std::array<std::string_view, 6> prefixes = {"bpf_prog_",    "bpf_get_stack", "bpf_trace_run",
                                                        "__bpf_trace_", "__traceiter_",  "bpf_trampoline_"};
  return std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view prefix) { return function.starts_with(prefix); });
}

bool is_system_call_entry(std::string_view function) {
  return function == "do_syscall_64" || function == "entry_SYSCALL_64_after_hwframe" || function == "x64_sys_call";
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

KernelStack plain_stack(std::span<const std::uint64_t> addresses, const SymbolLookup& lookup) {
  KernelStack stack;
  stack.frames = names(addresses, lookup);
  stack.in_system_call = leads_to_system_call(stack.frames);
  return stack;
}

}  // namespace stallscope::trace
