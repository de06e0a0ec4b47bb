// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "diagnose/diagnosis.h"
#include "diagnose/episodes.h"
#include "diagnose/joins.h"
#include "diagnose/wait_index.h"

namespace stallscope::diagnose {

/// Divides the reply time of every late probe. What it stood in queues goes to the waits that kept it there (see account()), by the
/// packet's own times where the receiving kernel saw it, else by the time it shared with them; what a CPU took that had it in hand,
/// to the waits of that CPU. Of what is left, the network gets no
/// more than the median probe takes.
[[nodiscard]] std::vector<LateProbe> split_late_probes(const evidence::Evidence& evidence, const ProbeAnalysis& probes,
                                                       const Joins& joins, const WaitIndex& waits);

/// The parts of all, longest first.
[[nodiscard]] std::vector<LatePart> sum_parts(const std::vector<LateProbe>& probes);

}  // namespace stallscope::diagnose
