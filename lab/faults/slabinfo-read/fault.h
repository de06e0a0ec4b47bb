// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::slabinfo_read {

/// Reads /proc/slabinfo while a slab cache has many partial slabs. Up to Linux 6.9 each list is counted with hard IRQs off;
/// from 6.10 on at most 10,000 slabs are, which holds nothing up.
extern const Fault fault;

}  // namespace stallscope::lab::slabinfo_read
