// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::slow_xdp {

/// Receiving itself takes long: an XDP program takes a set time over a packet.
extern const Fault fault;

}  // namespace stallscope::lab::slow_xdp
