// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::numa_stat_read {

/// Reads of memory.numa_stat, which flush the statistics of zombie memory cgroups as reads of memory.stat do. The kernel needs
/// CONFIG_NUMA.
extern const Fault fault;

}  // namespace stallscope::lab::numa_stat_read
