// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/result.h"
#include "bisect/path.h"
#include "cli/bisect_output.h"
#include "probe/prober.h"

namespace stallscope::cli {

struct BisectRunOptions {
  /// With its control rung.
  bisect::Path path;
  /// One target for each rung of the path, in its order.
  probe::ProberOptions prober;
  std::int64_t late_after_ns = 0;
};

/// Probes all rungs interleaved until each is decided, for the duration at most, with one line of progress on a terminal. Ctrl-C
/// (InterruptGuard) ends it early, in order.
[[nodiscard]] base::Result<BisectReport> run_bisect(const BisectRunOptions& options);

}  // namespace stallscope::cli
