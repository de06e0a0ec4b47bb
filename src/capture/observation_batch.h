// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "capture/exchange.h"

namespace stallscope::capture {

/// Finished exchanges on their way to a sink. Each is written where it stays until several are handed on at once: one that is
/// copied as soon as it is written in pieces waits for each of the pieces.
class ObservationBatch {
 public:
  /// `sink` must outlive this.
  explicit ObservationBatch(ObservationSink& sink) : sink_(sink) {}

  /// One to be filled in, before anything else is called.
  [[nodiscard]] Observation& add() {
    if (count_ == all_.size()) {
      hand_on();
    }
    // Made here, it would be put together in one place and copied to the other.
    static constexpr Observation blank;
    return all_[count_++] = blank;
  }
  void hand_on() {
    if (count_ > 0) {
      sink_.take(std::span(all_).first(count_));
      count_ = 0;
    }
  }

 private:
  ObservationSink& sink_;
  /// They stay in the CPU's first cache.
  std::array<Observation, 64> all_;
  std::size_t count_ = 0;
};

}  // namespace stallscope::capture
