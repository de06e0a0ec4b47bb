// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::napi_flood {

/// More packets arrive than a CPU can receive: its queue does not become empty, and each packet waits for all before it.
extern const Fault fault;

}  // namespace stallscope::lab::napi_flood
