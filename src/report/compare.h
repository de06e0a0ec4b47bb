// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "diagnose/compare.h"

namespace stallscope::report {

[[nodiscard]] std::string render_comparison(const diagnose::Comparison& comparison);
/// docs/json.md describes it.
[[nodiscard]] std::string render_comparison_json(const diagnose::Comparison& comparison);

}  // namespace stallscope::report
