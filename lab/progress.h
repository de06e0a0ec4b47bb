// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string_view>

namespace stallscope::lab {

/// Told what the lab is doing, one line for a person at a time.
using Progress = std::function<void(std::string_view)>;

}  // namespace stallscope::lab
