// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "host/readiness.h"

namespace stallscope::cli {

/// For people: what can be seen, what cannot and what that costs, and the next steps.
[[nodiscard]] std::string doctor_text(const host::HostFacts& facts, const host::Readiness& readiness, std::size_t width);
/// The same for programs, indented, with a final line feed.
[[nodiscard]] std::string doctor_json(const host::HostFacts& facts, const host::Readiness& readiness);

}  // namespace stallscope::cli
