// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::memcg_stat_flush {

/// Zombie memory cgroups make each read of memory.stat hold a CPU for 1 to 2 us per zombie with hard IRQs off: the incident of
/// 2019.
extern const Fault fault;

}  // namespace stallscope::lab::memcg_stat_flush
