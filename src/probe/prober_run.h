// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stop_token>

#include "base/result.h"
#include "probe/prober.h"

namespace stallscope::probe {

/// Prober::run(). Namespaces play no part any more: the sockets are open.
[[nodiscard]] base::Result<ProberSummary> run_prober(Prober::State& state, const std::stop_token& stop, const ProbeBatchSink& sink);

}  // namespace stallscope::probe
