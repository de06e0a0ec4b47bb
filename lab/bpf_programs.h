// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "base/result.h"
#include "lab/faults/fault.h"

namespace stallscope::lab {

/// "cannot run fault irq-off-section: its BPF program does not load: ...", with what libbpf said and how to see more.
[[nodiscard]] base::Error program_error(const Fault& fault, std::string_view step, int errno_value);

}  // namespace stallscope::lab
