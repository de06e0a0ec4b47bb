// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "diagnose/compare.h"

namespace stallscope::cli {

/// Reads both bundles and compares them.
[[nodiscard]] base::Result<diagnose::Comparison> compare_bundles(const std::string& before_path, const std::string& after_path);

}  // namespace stallscope::cli
