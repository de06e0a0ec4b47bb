// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "base/result.h"

namespace stallscope::host {

/// Runs `action` where it can mount file systems and enter namespaces without anyone seeing it: on a thread of its own, in a
/// mount namespace of its own. A thread's namespaces go with it, so that nothing has to be undone.
[[nodiscard]] base::Status in_private_mounts(const std::function<base::Status()>& action);

}  // namespace stallscope::host
