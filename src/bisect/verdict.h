// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bisect/path.h"
#include "bisect/stall_tracker.h"
#include "bisect/statistics.h"

namespace stallscope::bisect {

/// Why a layer is not what makes packets wait.
struct Exoneration {
  std::string layer;
  std::size_t rung = 0;
  /// The rung crosses the layer and is punctual; else it does not cross it and is late as well.
  bool crossed_and_clean = false;
  /// Of the rung, in the stalls of this cause.
  std::int64_t hits = 0;
  std::int64_t exposed = 0;
};

/// Stalls that hit the same rungs, and what that says.
struct Cause {
  enum class State : std::uint8_t {
    /// `suspects` says what remains.
    found,
    /// The rungs that are hit have no layer in common that the others lack: the description of the path misses something.
    no_such_layer,
    /// Not every rung is decided yet.
    open,
  };
  State state = State::open;
  std::vector<Stall> stalls;
  /// By rung.
  std::vector<SequentialTest> tests;
  /// More than one: no rung crosses one of them alone.
  std::vector<std::string> suspects;
  std::vector<Exoneration> exonerated;
  /// While open: how many more of these stalls are likely to decide it, and about how long that takes at their rate so far.
  std::int64_t stalls_missing = 0;
  std::int64_t time_missing_ns = 0;
};

struct Verdict {
  /// The cause of most stalls first.
  std::vector<Cause> causes;
  std::int64_t stall_count = 0;
  std::int64_t observed_ns = 0;

  /// Whether more stalls would add nothing.
  [[nodiscard]] bool decided() const;
};

/// Groups the stalls by the rungs they hit, and compares for each group what the rungs cross. Pure. Layers are named only where
/// every rung is decided by its test; `silent` rungs, which never answer, are left out.
[[nodiscard]] Verdict compare(const Path& path, std::span<const Stall> stalls, RungSet silent, std::int64_t observed_ns);

/// The rungs that lost more of their probes than coincidence makes of the rate of the others, and the layers that only they cross.
struct LossComparison {
  RungSet losing;
  std::vector<std::string> suspects;
};
[[nodiscard]] LossComparison compare_loss(const Path& path, const std::vector<RungCounts>& rungs, RungSet silent);

/// Rungs that lost 20 probes or more and got no answer.
[[nodiscard]] RungSet silent_rungs(const std::vector<RungCounts>& rungs);

}  // namespace stallscope::bisect
