// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "rss/receive_queues.h"
#include "rss/toeplitz.h"

namespace stallscope::rss {

/// One direction of a conversation, as the receiver sees it. An IPv4 address is in the first four bytes.
struct Flow {
  PacketKind kind = PacketKind::tcp4;
  std::array<std::uint8_t, 16> source{};
  std::array<std::uint8_t, 16> destination{};
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;

  [[nodiscard]] bool v6() const { return kind == PacketKind::tcp6 || kind == PacketKind::udp6 || kind == PacketKind::other6; }
  /// The other direction.
  [[nodiscard]] Flow reply() const { return {kind, destination, source, destination_port, source_port}; }
};

/// Bytes that are hashed; at most max_input_bytes.
struct HashInput {
  std::array<std::uint8_t, max_input_bytes> bytes{};
  std::size_t size = 0;

  [[nodiscard]] std::span<const std::uint8_t> span() const { return std::span(bytes).first(size); }
};

/// `fields` has addresses, or addresses and ports.
[[nodiscard]] HashInput hash_input(const Flow& flow, std::uint64_t fields, InputTransform transform);

/// Predicts the receive queue of flows from what a device says. A prediction, not an observation: filters, other RSS contexts and
/// drivers with a mind of their own override it, so compare it with what is seen (rss/learning.h) before relying on it.
class QueueMap {
 public:
  /// The error says which part is missing or not understood: no key, another hash function than Toeplitz, a table whose size is not
  /// a power of two, a queue that does not exist.
  [[nodiscard]] static base::Result<QueueMap> make(const ReceiveQueues& queues);

  /// Nothing where the device does not say what it hashes of such packets, or hashes what is not in a Flow.
  [[nodiscard]] std::optional<std::uint32_t> queue_of(const Flow& flow) const;
  [[nodiscard]] std::optional<std::uint32_t> hash_of(const Flow& flow) const;
  /// The queues in the table, in order.
  [[nodiscard]] const std::vector<std::uint32_t>& queues() const { return queues_; }

 private:
  QueueMap(Toeplitz toeplitz, const ReceiveQueues& queues);

  Toeplitz toeplitz_;
  InputTransform transform_;
  std::array<std::optional<std::uint64_t>, all_packet_kinds.size()> fields_;
  std::vector<std::uint32_t> table_;
  std::vector<std::uint32_t> queues_;
};

}  // namespace stallscope::rss
