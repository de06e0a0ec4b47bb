// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/units.h"
#include "bisect/path.h"

namespace stallscope::bisect {

/// A probe whose fate is known.
struct Observation {
  static constexpr std::int64_t lost = -1;

  std::size_t rung = 0;
  std::int64_t intended_ns = 0;
  std::int64_t sent_ns = 0;
  /// Or lost.
  std::int64_t received_ns = lost;
  /// Another host sent it. If it did so late, its prober stood still, not this one's, and was no witness of that time.
  bool from_elsewhere = false;
};

/// What one stall did to the rungs.
struct Stall {
  /// From when the first late probe was sent to when the last one was released.
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  /// Rungs that sent a probe meanwhile that would have been late had it crossed the cause, and of them those with a late one.
  RungSet exposed;
  RungSet hit;

  [[nodiscard]] std::int64_t length_ns() const { return end_ns - start_ns; }
};

struct RungCounts {
  std::int64_t sent = 0;
  std::int64_t answered = 0;
  std::int64_t late = 0;
  std::int64_t lost = 0;
  /// Sent late by the prober itself; counted as nothing else.
  std::int64_t own_late = 0;
  /// Median of recent answers, and what counts as late above it. 0 until there are enough of them.
  std::int64_t usual_ns = 0;
  std::int64_t late_after_ns = 0;
  std::int64_t worst_ns = 0;
  /// Stalls that this rung had late answers in, for how long, and the sum of the squares of these lengths (in s^2).
  std::int64_t stall_count = 0;
  std::int64_t stalled_ns = 0;
  double stalled_square_sum = 0;
};

struct TrackerOptions {
  /// So much above the median of its rung an answer is late; more where the rung is noisier than that (five standard deviations).
  std::int64_t late_after_ns = 5 * base::ns_per_ms;
  /// From one probe of a rung to the next.
  std::int64_t interval_ns = 0;
};

/// Turns the probes of all rungs, which were sent interleaved, into stalls. Pure; its memory is what is not settled yet.
class StallTracker {
 public:
  StallTracker(std::size_t rung_count, TrackerOptions options);

  /// In any order.
  void add(const Observation& observation);
  /// Says that a rung's prober, elsewhere, cannot be relied on for a time: it is no witness of stalls that reach into it. To be
  /// called before that time is settled.
  void add_absence(std::size_t rung, std::int64_t start_ns, std::int64_t end_ns);
  /// Says that every probe sent before `horizon_ns` was added. Stalls that ended before it are then found, and returned.
  /// `all`: nothing more comes; every stall is returned.
  std::vector<Stall> settle(std::int64_t horizon_ns, bool all = false);

  [[nodiscard]] const std::vector<RungCounts>& rungs() const { return counts_; }
  /// Of all probes; what was looked at lies between them.
  [[nodiscard]] std::int64_t first_ns() const { return first_ns_; }
  [[nodiscard]] std::int64_t settled_ns() const { return settled_ns_; }
  /// How often and for how long the prober itself was kept from sending. Stalls at that time count for no rung: an answer that came
  /// then may have waited for the prober.
  [[nodiscard]] std::int64_t own_stall_count() const { return own_stall_count_; }
  [[nodiscard]] std::int64_t own_stalled_ns() const { return own_stalled_ns_; }
  [[nodiscard]] std::int64_t worst_own_stall_ns() const { return worst_own_stall_ns_; }
  [[nodiscard]] std::int64_t stalls_set_aside() const { return stalls_set_aside_; }

 private:
  struct Settled {
    std::size_t rung = 0;
    std::int64_t sent_ns = 0;
    /// When the cause let it go: its answer less the usual time. Of a punctual probe about when it was sent.
    std::int64_t released_ns = 0;
    std::int64_t late_after_ns = 0;
    bool late = false;
  };
  struct Stretch {
    std::int64_t start_ns = 0;
    std::int64_t end_ns = 0;
  };
  struct Absence {
    std::size_t rung = 0;
    Stretch stretch;
  };

  [[nodiscard]] bool learn(const std::vector<Observation>& observations, bool all);
  void count(const Observation& observation);
  void add_own_stall(Stretch stretch);
  [[nodiscard]] static bool overlap(const Stretch& stretch, const Stall& stall);
  [[nodiscard]] bool prober_stood_still(const Stall& stall) const;
  /// Takes rungs out of `exposed` whose own prober, elsewhere, stood still meanwhile.
  void excuse_absent(Stall& stall) const;
  /// When a rung's late probes of a stall were sent, from the first on, and released, to the last.
  using Extents = std::array<Stretch, most_rungs>;
  /// Takes rungs out of it that were late for so little of it that it was something else of their own.
  void excuse_grazed(Stall& stall, const Extents& extents) const;
  void finish(Stall& stall, std::vector<Stall>& stalls);

  TrackerOptions options_;
  std::vector<RungCounts> counts_;
  /// By rung, the latest round-trip times, as a ring.
  std::vector<std::vector<std::int64_t>> recent_ns_;
  std::vector<std::size_t> next_recent_;
  std::vector<Observation> waiting_;
  /// In order of sending, from the start of the first stall that is not over.
  std::vector<Settled> settled_;
  std::vector<Stretch> own_stalls_;
  std::vector<Absence> absences_;
  std::int64_t first_ns_ = 0;
  std::int64_t settled_ns_ = 0;
  std::int64_t own_stall_count_ = 0;
  std::int64_t own_stalled_ns_ = 0;
  std::int64_t worst_own_stall_ns_ = 0;
  std::int64_t stalls_set_aside_ = 0;
};

}  // namespace stallscope::bisect
