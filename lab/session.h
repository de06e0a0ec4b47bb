// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/result.h"
#include "lab/pod_network.h"
#include "lab/progress.h"
#include "lab/stop_signals.h"
#include "lab/together.h"

// The life of a lab: each of these holds the lab's lock for as long as it takes, needs root and first removes what a killed lab
// has left behind.
namespace stallscope::lab {

/// Makes the topology, with a network of pods if one is asked for, and leaves it until take_down. Where it is up already, only the
/// CPU that receives is set, and a network of pods refused.
[[nodiscard]] base::Status bring_up(int receive_cpu, std::optional<Overlay> overlay, const Progress& progress);

/// Runs a fault, or several at the same time (run_together), for its duration or until a stop. Uses the topology that is up, or
/// makes one for itself and removes it. All must have the same receiving CPU.
[[nodiscard]] base::Status run_faults(const std::vector<FaultRun>& runs, StopSignals& stop, const RunOutput& output);

/// Calls `body` with the lab's lock held; needs no topology.
[[nodiscard]] base::Status with_lab(const Progress& progress, const std::function<base::Status()>& body);

/// Removes everything that any lab made.
[[nodiscard]] base::Status take_down(const Progress& progress);

}  // namespace stallscope::lab
