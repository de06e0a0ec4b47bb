// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

namespace stallscope::lab {

/// Calls `done` every few milliseconds until it says so or `bound_ns` are over, and says which it was.
bool wait_for(std::int64_t bound_ns, const std::function<bool()>& done);

}  // namespace stallscope::lab
