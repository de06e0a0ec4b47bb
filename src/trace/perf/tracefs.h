// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "trace/perf/tracepoint_format.h"

namespace stallscope::trace::perf {

/// The formats of these tracepoints ("irq/softirq_raise"); those the kernel does not have are missing from the answer. Where
/// tracefs is not mounted, it is for as long as it is read and where nobody else sees it, which needs CAP_SYS_ADMIN.
[[nodiscard]] base::Result<std::map<std::string, TracepointFormat, std::less<>>> read_tracepoint_formats(
    std::span<const std::string_view> names);

}  // namespace stallscope::trace::perf
