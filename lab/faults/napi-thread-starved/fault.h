// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::napi_thread_starved {

/// The node's device is polled by kernel threads (threaded NAPI), and a task on their CPU does not let them run: a real-time one,
/// or an ordinary one in a long system call.
extern const Fault fault;

}  // namespace stallscope::lab::napi_thread_starved
