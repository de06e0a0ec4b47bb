// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/result.h"
#include "lab/faults/catalogue.h"
#include "lab/stop_signals.h"

namespace stallscope::lab {

/// Zombie memory cgroups make each read of memory.stat hold a CPU for about 2 us per zombie with hard IRQs off: the incident of
/// 2019. Blocks for the duration of the run or until a stop; what it makes is removed before it returns, whatever the result.
[[nodiscard]] base::Status run_memcg_stat_flush(const RunOptions& options, StopSignals& stop, const RunOutput& output);

/// Removes what a killed run of it left; says whether there was anything.
[[nodiscard]] base::Result<bool> remove_memcg_stat_flush(const Progress& progress);

}  // namespace stallscope::lab
