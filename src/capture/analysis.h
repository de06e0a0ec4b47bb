// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "capture/flow_table.h"
#include "capture/legs.h"
#include "capture/observations.h"
#include "capture/releases.h"
#include "capture/responses.h"
#include "capture/tracker.h"

namespace stallscope::capture {

/// What was found out about a capture before anything is judged.
struct Findings {
  /// Requests with answers, in order of sending, as far as they were kept. What has several legs is there once.
  std::vector<Observation> exchanges;
  /// What proves nothing about queues: data whose ACK may have been delayed on purpose, and responses of applications.
  std::vector<Observation> unjudged;
  TrackerCounts counts;
  LegCounts legs;
  std::int64_t thinned_count = 0;
  std::int64_t left_out_count = 0;
  std::int64_t delayed_ack_count = 0;
  std::int64_t response_count = 0;
  std::vector<ServiceResponses> late_responses;
  std::vector<PacketRelease> releases;
  std::int64_t releases_left_out_count = 0;
  /// Where it was asked for.
  std::unique_ptr<FlowTable> flows;
};

/// All that looks at a packet, in one pass.
class Analysis : private ObservationSink {
 public:
  /// Of each, so many are kept for a table.
  static constexpr std::size_t most_unjudged = ObservationStore::short_capture;

  explicit Analysis(bool with_flows);

  void add(std::span<const Packet> packets) { tracker_.add(packets); }
  [[nodiscard]] std::int64_t packet_count() const { return tracker_.counts().packet_count; }
  /// To be called once, last.
  [[nodiscard]] Findings finish();

 private:
  void take(const Observation& observation) override;
  void packet(const Packet& packet, const Decoded& decoded) override;
  void resent(const ExchangeKey& key) override;

  ObservationStore store_;
  std::vector<Observation> unjudged_;
  std::int64_t delayed_ack_count_ = 0;
  ResponseCounts responses_;
  ReleaseFinder releases_;
  std::unique_ptr<FlowTable> flows_;
  Tracker tracker_;
};

}  // namespace stallscope::capture
