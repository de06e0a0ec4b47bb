// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::slow_tc {

/// Receiving itself takes long: a tc program on the way in takes a set time over a packet.
extern const Fault fault;

}  // namespace stallscope::lab::slow_tc
