// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/units.h"

namespace stallscope::remedy {

/// Chooses how much to do at once from what the last step did to packets. Pure.
///
/// The step grows by half while a step's harm is below a quarter of what is allowed, stays up to half of it, and shrinks beyond:
/// by a third, or to a quarter with a longer pause where more than is allowed was seen. Above half of the step that last did so it
/// grows by a sixteenth at a time.
class Pacer {
 public:
  struct Limits {
    /// Longest added delay that a step may cause.
    std::int64_t allowed_ns = 5 * base::ns_per_ms;
    std::int64_t first_step = 64;
    std::int64_t smallest_step = 1;
    /// What one step lets go of is freed by one worker, whose sections grow with it: measured, 256 at a time add 1 ms, 2,000 add 23
    /// ms.
    std::int64_t largest_step = 256;
    std::int64_t shortest_pause_ns = 5 * base::ns_per_ms;
    std::int64_t longest_pause_ns = base::ns_per_s;
  };

  explicit Pacer(const Limits& limits);
  [[nodiscard]] std::int64_t step() const { return step_; }
  [[nodiscard]] std::int64_t pause_ns() const { return pause_ns_; }
  /// The worst delay seen since the step began: of a packet beyond the usual, or the longest stretch in which a CPU could not
  /// receive.
  void learn(std::int64_t worst_ns);

 private:
  Limits limits_;
  std::int64_t step_;
  /// Where harm begins, as far as is known.
  std::int64_t ceiling_;
  std::int64_t pause_ns_;
};

}  // namespace stallscope::remedy
