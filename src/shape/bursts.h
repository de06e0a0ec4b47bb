// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "shape/classify.h"
#include "shape/release.h"
#include "shape/shape.h"

namespace stallscope::shape {

/// Late packets whose answers arrived one right after the other.
struct Burst {
  /// Where they stand in Bursts::late, there in order of sending.
  std::size_t first = 0;
  std::size_t last = 0;
  std::int64_t first_sent_ns = 0;
  std::int64_t last_sent_ns = 0;
  std::int64_t first_arrival_ns = 0;
  std::int64_t last_arrival_ns = 0;
  /// Send times further apart than the arrivals are: what was sent together arrives together without a queue.
  std::int64_t epoch_count = 0;
  std::optional<SlopeFit> fit;
  Release release = Release::unknown;

  [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(last - first); }
  [[nodiscard]] std::int64_t spread_ns() const { return last_arrival_ns - first_arrival_ns; }
  /// From the first packet sent to the first arrival.
  [[nodiscard]] std::int64_t length_ns() const { return first_arrival_ns - first_sent_ns; }
};

struct Bursts {
  std::vector<std::uint32_t> late;
  /// In order of arrival.
  std::vector<Burst> bursts;
  /// Of all bursts, single packets included.
  std::int64_t epoch_count = 0;
};

/// How much later than its neighbour an answer may come and belong to the same burst: a part of how late it is, because long
/// queues take long to drain, within bounds.
inline constexpr std::int64_t drain_divisor = 50;
inline constexpr std::int64_t longest_drain_gap_ns = 5 * base::ns_per_ms;

[[nodiscard]] Bursts find_bursts(std::span<const TimedPacket> packets, const Classified& classified);

/// For each packet, whether one of the same flow that was sent later was answered clearly earlier: no queue held it.
[[nodiscard]] std::vector<bool> find_overtaken(std::span<const TimedPacket> packets, const Classified& classified);

/// The chance that a late answer is followed by as many others as the burst has, within its spread, by coincidence.
[[nodiscard]] double coincidence_chance(const Burst& burst, const Bursts& all, const Classified& classified);

/// What all flows did while a burst waited.
struct Witness {
  /// Flows whose packets were held, each nearly all of them.
  std::vector<FlowPart> stalled;
  std::vector<FlowPart> passing;
  /// Of the burst, how many belong to `stalled`.
  std::int64_t held_count = 0;
  /// Packets of the stalled flows that were sent meanwhile and answered or late, and of all flows.
  std::int64_t stalled_sent_count = 0;
  std::int64_t all_sent_count = 0;
  std::int64_t passed_count = 0;
  std::int64_t lost_count = 0;
  /// Flows that sent meanwhile, whatever became of it.
  std::int64_t flow_count = 0;
  /// Answers to the stalled flows that arrived when there should have been silence.
  std::int64_t noise_count = 0;
  /// When the last packet of the stalled flows that passed was sent.
  std::int64_t earliest_start_ns = 0;
  /// For how much of the stall the sender itself was late.
  std::int64_t own_late_ns = 0;
};

struct TimeRange {
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
};

/// Looks at what flows did, one burst after the other; keeps its scratch memory.
class WitnessStand {
 public:
  /// `own_late` are the stretches in which the sender was late, in order and apart. All arguments must outlive this.
  WitnessStand(std::span<const TimedPacket> packets, const Classified& classified, const Bursts& bursts,
               const std::vector<TimeRange>& own_late);

  /// Nothing once what was asked for takes more than a few looks at every packet: bursts that overlap over and over.
  [[nodiscard]] std::optional<Witness> hear(std::size_t burst_number);

 private:
  struct Count {
    std::uint64_t stamp = 0;
    FlowPart part;
    std::int64_t elsewhere_count = 0;
    std::int64_t highest_sequence = std::numeric_limits<std::int64_t>::min();
    bool stalled = false;
  };

  Count& count_of(std::uint32_t flow);
  void count_window(const Burst& burst, std::uint32_t id);
  void count_reordering(const Burst& burst);
  void sort_flows(Witness& witness);
  void listen_for_silence(const Burst& burst, Witness& witness);
  void find_start(const Burst& burst, Witness& witness);
  [[nodiscard]] std::size_t sent_from(std::int64_t time_ns) const;

  std::span<const TimedPacket> packets_;
  const Classified& classified_;
  const Bursts& bursts_;
  const std::vector<TimeRange>& own_late_;
  /// For each packet, the number of its burst + 1.
  std::vector<std::uint32_t> burst_of_;
  std::vector<Count> counts_;
  /// Flows counted for the present burst.
  std::vector<std::uint32_t> seen_;
  std::vector<std::uint32_t> by_arrival_;
  std::uint64_t stamp_ = 0;
  std::size_t budget_;
};

}  // namespace stallscope::shape
