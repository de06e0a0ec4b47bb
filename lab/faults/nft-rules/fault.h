// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::nft_rules {

/// Receiving itself takes long: each packet walks a long list of nft rules on its way in.
extern const Fault fault;

}  // namespace stallscope::lab::nft_rules
