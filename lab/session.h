// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/result.h"
#include "lab/faults/catalogue.h"
#include "lab/progress.h"
#include "lab/stop_signals.h"

// The life of a lab: each of these holds the lab's lock for as long as it takes, needs root and first removes what a killed lab
// has left behind.
namespace stallscope::lab {

/// Makes the topology and leaves it until take_down; only sets the CPU that receives where it is up already.
[[nodiscard]] base::Status bring_up(int receive_cpu, const Progress& progress);

/// Runs a fault for its duration or until a stop. Uses the topology that is up, or makes one for itself and removes it.
[[nodiscard]] base::Status run_fault(const Fault& fault, const RunOptions& options, StopSignals& stop, const RunOutput& output);

/// Removes everything that any lab made.
[[nodiscard]] base::Status take_down(const Progress& progress);

}  // namespace stallscope::lab
