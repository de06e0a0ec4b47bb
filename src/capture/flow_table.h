// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/latency_histogram.h"
#include "capture/decode.h"
#include "capture/exchange.h"
#include "capture/packet.h"

namespace stallscope::capture {

/// All packets with the same addresses, protocol and ports: one direction of a conversation.
struct FlowCounts {
  ExchangeKey key;
  std::int64_t packet_count = 0;
  /// On the wire, link layer included.
  std::int64_t byte_count = 0;
  std::int64_t resent_count = 0;
  /// Requests of this flow that were answered late. Filled in by who judges them.
  std::int64_t held_count = 0;
  /// Of its requests and data; nothing where none was answered.
  std::unique_ptr<base::LatencyHistogram> rtts;
};

/// Counts by flow, in bounded memory: flows beyond the limit are one.
class FlowTable {
 public:
  /// 3 KiB each with RTTs: 100 MiB.
  static constexpr std::size_t most_flows = std::size_t{1} << 15U;
  /// A quantile is right to 12 %.
  static constexpr unsigned precision_bits = 3;

  FlowTable();
  void add(const Packet& packet, const Decoded& decoded);
  void add_rtt(const Observation& observation);
  void add_resent(const ExchangeKey& exchange);
  /// The flow of an exchange's request.
  [[nodiscard]] FlowCounts& of(const ExchangeKey& exchange);
  /// The first stands for all beyond the limit, with a key of kind none; then in order of appearance.
  [[nodiscard]] const std::vector<FlowCounts>& flows() const { return flows_; }
  [[nodiscard]] std::int64_t others_count() const { return flows_.front().packet_count; }

 private:
  [[nodiscard]] FlowCounts& at(const ExchangeKey& key);

  std::vector<FlowCounts> flows_;
  std::unordered_map<ExchangeKey, std::uint32_t, KeyHash> places_;
};

}  // namespace stallscope::capture
