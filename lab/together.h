// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "lab/faults/fault.h"
#include "lab/stop_signals.h"

namespace stallscope::lab {

struct FaultRun {
  const Fault* fault = nullptr;
  RunOptions options;
};

/// The faults of "irq-off-section" or of "irq-off-section+softirq-vector". The error names the faults there are, or why two of them
/// cannot run at the same time.
[[nodiscard]] base::Result<std::vector<const Fault*>> find_faults(std::string_view ids);
/// "irq-off-section+softirq-vector"
[[nodiscard]] std::string join_ids(const std::vector<const Fault*>& faults);

/// Runs several faults at the same time, each in a process of its own that writes its own ground truth, framed as if it were alone.
/// Their turns are as far apart as the period allows: of two, half a period. Ends with the last of them, or all when one fails or a
/// stop is asked for. A culprit that would have the lab's cgroup to itself is in none of its own.
[[nodiscard]] base::Status run_together(std::vector<FaultRun> runs, StopSignals& stop, const RunOutput& output);

}  // namespace stallscope::lab
