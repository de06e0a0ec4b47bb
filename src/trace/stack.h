// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace stallscope::trace {

/// The kernel function an address lies in; empty when unknown.
using SymbolLookup = std::function<std::string_view(std::uint64_t address)>;

/// What a kernel stack says, innermost function first.
struct KernelStack {
  std::vector<std::string> frames;
  /// An interrupt entry was found and cut off: the frames are those of the code it interrupted.
  bool interrupted = false;
  /// The frames lead to a system call's entry.
  bool in_system_call = false;
};

/// The stack of a task that an interrupt has just found: the interrupt's own frames (all of them, when interrupts nest) are cut
/// off, as are those of the tracing program that took the stack. No frames are left when user space was interrupted.
[[nodiscard]] KernelStack interrupted_stack(std::span<const std::uint64_t> addresses, const SymbolLookup& lookup);

/// The system call that the frames lead through: it has a function of its own name ("__x64_sys_read", "ksys_read", "SyS_read").
[[nodiscard]] std::optional<std::int32_t> system_call_of(std::span<const std::string> frames);

/// The stack as taken. That of a CPU clock sample begins with what the clock interrupted, be it a BPF program: perf leaves out the
/// interrupt and the program that takes the sample.
[[nodiscard]] KernelStack plain_stack(std::span<const std::uint64_t> addresses, const SymbolLookup& lookup);

/// What was found on a stack that was read raw, `addresses` from its outermost word inwards. Addresses that no symbol is known for
/// are left out; of several in one function in a row, which calls from there have left, one is kept.
[[nodiscard]] KernelStack raw_stack(std::span<const std::uint64_t> addresses, const SymbolLookup& lookup);

}  // namespace stallscope::trace
