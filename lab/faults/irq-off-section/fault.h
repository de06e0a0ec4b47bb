// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::irq_off_section {

/// Hard interrupts are off for a set time inside a system call, by a BPF program: as in a driver or a lock held too long, exactly
/// as long as asked for. The call is a write(2) where BPF can switch interrupts off (Linux 6.14), else a timerfd_settime(2), which
/// holds the CPU's lock for high-resolution timers meanwhile.
extern const Fault fault;

}  // namespace stallscope::lab::irq_off_section
