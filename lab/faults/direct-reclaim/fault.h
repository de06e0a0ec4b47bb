// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::direct_reclaim {

/// A process at the memory limit of its cgroup reads a file larger than that, and reclaims page cache inside its reads. The kernel
/// gives up the CPU often enough that nothing waits for it.
extern const Fault fault;

}  // namespace stallscope::lab::direct_reclaim
