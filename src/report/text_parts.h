// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "diagnose/diagnosis.h"
#include "diagnose/stacks.h"
#include "report/layout.h"

namespace stallscope::report {

struct StallText {
  const evidence::Evidence& evidence;
  const diagnose::StackTable& stacks;
  /// Show whole stacks, and who had the CPU in order.
  bool all = false;
};

/// One stall of the text report: when, how long, where, held by whom, and which packets waited.
void write_stall(Page& page, const StallText& source, const diagnose::Stall& stall, std::size_t number);

}  // namespace stallscope::report
