// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "evidence/records.h"
#include "report/shape.h"

namespace stallscope::cli {

/// By number: kind and target port, and the source port.
[[nodiscard]] std::vector<report::FlowName> flow_names(const std::vector<evidence::FlowRecord>& flows);

}  // namespace stallscope::cli
