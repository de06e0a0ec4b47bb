// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::softirq_vector {

/// Another softirq vector than NET_RX, that of high-resolution timers, runs for a set time: the callback of a BPF timer.
extern const Fault fault;

}  // namespace stallscope::lab::softirq_vector
