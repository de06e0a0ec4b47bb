// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "capture/exchange.h"

namespace stallscope::capture {

/// Keeps, of any number of exchanges, those that a diagnosis needs, in bounded memory: what was late or unanswered, all that was
/// under way at the same time (whether other flows passed tells a queue from a path), and of the rest an even sample that says what
/// is usual. Of a short capture everything is kept.
///
/// What came last is looked back at whole, and of what came before that one in `history_every`: that others passed in a long stall
/// is seen in some as in all. So what is written for each exchange stays in a CPU's caches.
class ObservationStore {
 public:
  /// Up to so many.
  static constexpr std::size_t short_capture = std::size_t{1} << 17U;
  /// The last two are looked back at whole.
  static constexpr std::size_t block_size = std::size_t{1} << 13U;
  static constexpr std::size_t history_every = 8;
  /// As many and up to as many again, so at least 131,072 exchanges are looked back at.
  static constexpr std::size_t least_history = std::size_t{1} << 14U;
  /// 96 MiB with 96 bytes each.
  static constexpr std::size_t most_kept = std::size_t{1} << 20U;

  ObservationStore();
  void take(std::span<const Observation> observations);
  /// In order of sending. To be called once.
  [[nodiscard]] std::vector<Observation> finish();
  /// Prompt ones that were not kept: nothing is missing without them but numbers.
  [[nodiscard]] std::int64_t thinned_count() const { return thinned_count_; }
  /// What belonged to a stall and was not kept for want of room.
  [[nodiscard]] std::int64_t left_out_count() const { return left_out_count_; }

 private:
  struct Block {
    std::vector<Observation> exchanges;
    /// Places of those that were late or unanswered.
    std::vector<std::size_t> notable;
  };

  [[nodiscard]] bool is_notable(const Observation& observation);
  void take_in_blocks(std::span<const Observation> observations);
  void rotate();
  void keep(const Observation& observation);
  /// All but what is still looked back at.
  void pass_on_history(std::size_t left);
  void bound_sample();

  /// While it may be a short capture.
  std::vector<Observation> all_;
  bool short_ = true;
  Block previous_;
  Block recent_;
  /// Prompt ones from before the last two blocks.
  std::vector<Observation> history_;
  std::vector<Observation> kept_;
  std::vector<Observation> sample_;
  /// Of so many prompt ones, one is in the sample: a power of two.
  std::uint64_t sample_every_ = history_every;
  std::int64_t thinned_count_ = 0;
  std::int64_t left_out_count_ = 0;
  /// The least RTT of far hosts, by a hash of their address; hosts that share a place share the lesser one, which keeps more.
  std::vector<std::int64_t> least_rtt_ns_;
};

}  // namespace stallscope::capture
