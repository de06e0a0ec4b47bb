// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/units.h"
#include "cli/probe_output.h"
#include "probe/prober.h"
#include "rss/queue_map.h"

namespace stallscope::cli {

struct ProbeRunOptions {
  probe::ProberOptions prober;
  std::int64_t late_after_ns = 10 * base::ns_per_ms;
  /// Of the targets' network cards.
  std::optional<rss::QueueMap> rss_key;
  /// Empty: no bundle is kept.
  std::string bundle_path;
  bool each = false;
  bool json = false;
  ProbeTextOptions text;
};

/// Probes, prints and keeps what comes. Returns whether anything was late or lost. Ctrl-C (InterruptGuard) ends it early, in order.
[[nodiscard]] base::Result<bool> run_probes(const ProbeRunOptions& options);

}  // namespace stallscope::cli
