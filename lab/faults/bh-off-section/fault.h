// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::bh_off_section {

/// Bottom halves are off for a set time inside a sendto(2), interrupts on: a tc program on the way out of a device, as with a long
/// list of filters or a spinlock_bh held too long.
extern const Fault fault;

}  // namespace stallscope::lab::bh_off_section
