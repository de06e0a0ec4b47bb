// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"

namespace stallscope::lab {

[[nodiscard]] base::Status make_cgroup(const std::string& path);
/// No error where it is not there. A process that has just been killed may keep its cgroup busy until it is reaped: waits for
/// that, 10 s at most.
[[nodiscard]] base::Status remove_cgroup(const std::string& path);

}  // namespace stallscope::lab
