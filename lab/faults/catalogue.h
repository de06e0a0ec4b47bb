// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "base/result.h"
#include "lab/faults/fault.h"

namespace stallscope::lab {

/// Every fault, by id.
[[nodiscard]] std::span<const Fault* const> faults();
/// The error names the faults there are.
[[nodiscard]] base::Result<const Fault*> find_fault(std::string_view id);

}  // namespace stallscope::lab
