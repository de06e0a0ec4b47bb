// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::irq_off_section {

/// Hard interrupts are off for a set time inside a write(2), by a BPF program: as in a driver or a lock held too long, exactly as
/// long as asked for.
extern const Fault fault;

}  // namespace stallscope::lab::irq_off_section
