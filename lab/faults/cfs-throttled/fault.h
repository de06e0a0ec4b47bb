// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::cfs_throttled {

/// A server in a cgroup with a CPU quota uses it up while it answers: packets are delivered in time, and answered late.
extern const Fault fault;

}  // namespace stallscope::lab::cfs_throttled
