// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::slab_shrink {

/// Writes 2 to /proc/sys/vm/drop_caches, which goes through every memory cgroup, zombies too, several times, and gives up the CPU
/// only between those rounds. Interrupts stay on: what waits is a NAPI thread, for a round at a time. The ground truth has the
/// whole write, in which the stalls lie.
extern const Fault fault;

}  // namespace stallscope::lab::slab_shrink
