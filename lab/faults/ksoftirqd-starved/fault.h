// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::ksoftirqd_starved {

/// A softirq takes long enough for the kernel to leave the rest to ksoftirqd, which then has to wait for a system call that is not
/// preempted. Linux 4.9 to 6.4 serve no softirq at the end of an interrupt meanwhile (commit 4cd13c21b207, reverted by
/// d15121be7485), so that received packets wait with it.
extern const Fault fault;

}  // namespace stallscope::lab::ksoftirqd_starved
