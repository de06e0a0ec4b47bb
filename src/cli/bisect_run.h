// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "bisect/path.h"
#include "cli/bisect_output.h"
#include "cli/far_prober.h"
#include "probe/prober.h"

namespace stallscope::cli {

/// A rung whose probes another host sends.
struct FarRung {
  /// Index into the path's.
  std::size_t rung = 0;
  NodeAccess node;
  FarProberOptions prober;
};

struct BisectRunOptions {
  /// With its control rung.
  bisect::Path path;
  probe::ProberOptions prober;
  /// For each target of `prober` the rung that it is, by index; the others are far ones.
  std::vector<std::size_t> rung_of_target;
  std::vector<FarRung> far_rungs;
  std::int64_t late_after_ns = 0;
};

/// Probes all rungs interleaved until each is decided, for the duration at most, with one line of progress on a terminal. Ctrl-C
/// (InterruptGuard) ends it early, in order.
[[nodiscard]] base::Result<BisectReport> run_bisect(const BisectRunOptions& options);

}  // namespace stallscope::cli
