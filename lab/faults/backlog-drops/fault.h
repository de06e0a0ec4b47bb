// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::backlog_drops {

/// Packets arrive at once that do not fit a CPU's backlog and are dropped: loss, not lateness.
extern const Fault fault;

}  // namespace stallscope::lab::backlog_drops
