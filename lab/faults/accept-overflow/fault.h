// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::accept_overflow {

/// A server does not accept its connections: attempts to connect are dropped once its accept queue is full.
extern const Fault fault;

}  // namespace stallscope::lab::accept_overflow
