// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "capture/exchange.h"
#include "capture/findings.h"
#include "capture/flow_table.h"
#include "capture/observations.h"
#include "capture/packet_facts.h"
#include "capture/responses.h"
#include "capture/tracker.h"

namespace stallscope::capture {

/// The second half of an analysis: makes exchanges of packets, and keeps of them what is needed. Not thread-safe, and all of it by
/// itself: it may run on another thread than what reads the packets.
class Pairing : private ObservationSink {
 public:
  /// Of what is not judged, so many of each are kept for a table.
  static constexpr std::size_t most_unjudged = ObservationStore::short_capture;

  /// `flows` counts RTTs and what was sent again; it must outlive this, and may be null.
  explicit Pairing(FlowTable* flows);

  void add(std::span<const PacketFacts> packets) { tracker_.add(packets); }
  /// Fills in what it found. To be called once, last.
  void finish(Findings& findings);

 private:
  void take(std::span<const Observation> observations) override;
  [[nodiscard]] static bool is_judged(const Observation& observation);
  void take_unjudged(const Observation& observation);
  void resent(const ExchangeKey& key) override;

  FlowTable* flows_;
  ObservationStore store_;
  std::vector<Observation> unjudged_;
  std::int64_t delayed_ack_count_ = 0;
  ResponseCounts responses_;
  Tracker tracker_;
};

}  // namespace stallscope::capture
