// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/clock_fit.h"
#include "base/result.h"
#include "evidence/records.h"

// A prober sees that packets were late, the node they went to sees why it could not receive. Recorded at the same time, the two
// bundles are put together as if one host had seen both.
namespace stallscope::join {

struct TwoEnds {
  /// All times by the node's clock: the node's evidence as it was, and the prober's probes.
  evidence::Evidence evidence;
  base::ClockFit clock;
  /// Probes whose packet the node saw, of those sent while it recorded.
  std::int64_t seen_count = 0;
  std::int64_t probe_count = 0;
};

/// Joins by sequence: `node` must have watched the echo identifier that `prober` used (`diagnose --echo-id`, of SYNs with --tcp).
/// The prober's own waits are left out, and a gap says so. Errors: a bundle has no probes, the other saw none of them, or their
/// clocks contradict each other, as those of two different sessions do.
[[nodiscard]] base::Result<TwoEnds> join_two_ends(const evidence::Evidence& prober, evidence::Evidence node);

}  // namespace stallscope::join
