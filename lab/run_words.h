// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "base/result.h"

namespace stallscope::lab {

/// Runs a program given as words separated by spaces.
[[nodiscard]] base::Status run_words(std::string_view words);
/// One after the other, up to the first that fails.
[[nodiscard]] base::Status run_all(std::initializer_list<std::string> commands);

}  // namespace stallscope::lab
