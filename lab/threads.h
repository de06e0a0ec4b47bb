// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string_view>
#include <vector>

namespace stallscope::lab {

/// The processes with this name (comm), kernel threads included; in no order.
[[nodiscard]] std::vector<pid_t> threads_named(std::string_view name);
/// Those whose name begins so.
[[nodiscard]] std::vector<pid_t> threads_named_like(std::string_view prefix);

}  // namespace stallscope::lab
