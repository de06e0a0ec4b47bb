// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "lab/progress.h"
#include "lab/stop_signals.h"

namespace stallscope::lab {

struct RunOptions {
  int zombies_count = 0;
  /// The CPU the fault holds up, and the one that receives on the node.
  int cpu = 0;
  int receive_cpu = 0;
  std::int64_t period_ns = 0;
  std::int64_t duration_ns = 0;
  bool healthy = false;
};

struct RunOutput {
  /// Gets one JSON object per line, each written at once.
  int ground_truth_fd = -1;
  Progress progress;
};

/// A fault the lab can cause for real.
struct Fault {
  std::string_view id;
  std::string_view summary;
  base::Status (*run)(const RunOptions&, StopSignals&, const RunOutput&);
  base::Result<bool> (*remove_leftovers)(const Progress&);
};

[[nodiscard]] std::span<const Fault> faults();
/// The error names the faults there are.
[[nodiscard]] base::Result<const Fault*> find_fault(std::string_view id);

}  // namespace stallscope::lab
