// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "capture/exchange.h"

namespace stallscope::capture {

/// Keeps, of any number of exchanges, those that a diagnosis needs, in bounded memory: what was late or unanswered, all that was
/// under way at the same time (whether other flows passed tells a queue from a path), and of the rest an even sample that says what
/// is usual. Up to two blocks everything is kept.
class ObservationStore : public ObservationSink {
 public:
  static constexpr std::size_t block_size = std::size_t{1} << 16U;
  /// 96 MiB with 96 bytes each.
  static constexpr std::size_t most_kept = std::size_t{1} << 20U;

  ObservationStore();
  void take(const Observation& observation) override;
  /// In order of sending. To be called once.
  [[nodiscard]] std::vector<Observation> finish();
  /// Prompt ones that were not kept: nothing is missing without them but numbers.
  [[nodiscard]] std::int64_t thinned_count() const { return thinned_count_; }
  /// What belonged to a stall and was not kept for want of room.
  [[nodiscard]] std::int64_t left_out_count() const { return left_out_count_; }

 private:
  [[nodiscard]] bool is_notable(const Observation& observation);
  void rotate();

  std::vector<Observation> previous_;
  std::vector<Observation> recent_;
  std::vector<bool> previous_notable_;
  std::vector<bool> recent_notable_;
  std::vector<Observation> kept_;
  std::vector<Observation> sample_;
  /// Of so many prompt ones, one is in the sample: a power of two.
  std::uint64_t sample_every_ = 1;
  std::int64_t thinned_count_ = 0;
  std::int64_t left_out_count_ = 0;
  /// The least RTT of far hosts, by a hash of their address; hosts that share a place share the lesser one, which keeps more.
  std::vector<std::int64_t> least_rtt_ns_;
};

}  // namespace stallscope::capture
