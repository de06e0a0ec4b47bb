// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::zombie_release {

/// Cuts the one tmpfs file that pins many zombie memory cgroups, so that the kernel frees all of them in one go: a worker unlinks
/// each from the list of those with statistics to flush, which it searches from the start with hard IRQs off, and so makes one
/// stall after the other until a flush empties the list. The ground truth has the time from the cut until all are gone, in which
/// the stalls lie.
extern const Fault fault;

}  // namespace stallscope::lab::zombie_release
