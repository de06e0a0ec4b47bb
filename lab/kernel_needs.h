// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace stallscope::lab {

/// Something of the kernel's that a BPF program of a fault needs.
struct KernelNeed {
  enum class Kind : std::uint8_t { function, tracepoint };
  Kind kind = Kind::function;
  /// A function that BPF may call ("bpf_local_irq_save") or a tracepoint of tp_btf ("sys_enter").
  std::string_view name;
  /// The release it came with: "Linux 6.14".
  std::string_view since;
};

/// Looks each of them up in the kernel's BTF. The error names the first that is missing and the release that has it.
[[nodiscard]] base::Status check_kernel_needs(std::string_view fault_id, std::span<const KernelNeed> needs);

}  // namespace stallscope::lab
