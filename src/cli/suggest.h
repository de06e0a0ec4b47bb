// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace stallscope::cli {

/// Of `candidates`, those that a person may have meant by `word`: that begin with it, or are few slips of a finger away. The
/// nearest first, three at most.
[[nodiscard]] std::vector<std::string> suggest(std::string_view word, const std::vector<std::string>& candidates);

/// "Did you mean 'report' or 'record'?", or nothing without suggestions.
[[nodiscard]] std::string did_you_mean(const std::vector<std::string>& suggestions);

}  // namespace stallscope::cli
