// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::hung_task {

/// A task sleeps uninterruptibly for a set time: it waits for the lock of a file in memory, which another process holds whose
/// write(2) waits for a page that nobody provides (userfaultfd). No packet waits. It ends when that other process is killed, which
/// always works.
extern const Fault fault;

}  // namespace stallscope::lab::hung_task
