// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/units.h"
#include "cli/remedy_watch.h"
#include "remedy/action.h"

namespace stallscope::cli {

struct ApplyOptions {
  remedy::Request request;
  /// Without it, only what would be done is said.
  bool go = false;
  WatchOptions watch;
  /// What a step may add to a packet's time before steps get smaller, and at what it is given up.
  std::int64_t allowed_ns = 5 * base::ns_per_ms;
  std::int64_t stop_at_ns = 100 * base::ns_per_ms;
  std::int64_t budget_ns = 600 * base::ns_per_s;
  std::int64_t budget_steps = 0;
  /// stop-reader: for how long.
  std::int64_t hold_ns = 60 * base::ns_per_s;
  /// Record for so long before and after, and compare; 0: do not.
  std::int64_t measure_ns = 0;
  std::string directory = ".";
  /// Where what is done is written down.
  std::string journal = "/run/stallscope-remedy";
};

/// Returns the exit status: 0 all was done and nothing was held up for longer than allowed, 1 something was, or a budget ended it,
/// 2 an error.
[[nodiscard]] int apply_remedy(const ApplyOptions& options);

}  // namespace stallscope::cli
