// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "capture/exchange.h"
#include "capture/observation_batch.h"
#include "capture/packet_facts.h"
#include "capture/slot_table.h"

namespace stallscope::capture {

/// Follows the data of TCP connections, once there is some: to the ACK that ends where a segment ends, and from the end of a
/// request to the first byte of the response. Bytes that were sent more than once are left out (Karn's rule) unless the ACK echoes
/// the timestamp of one transmission alone. A loss makes what was sent after it wait for the retransmission: that is left out, too.
///
/// Who responds is told by the ports: the lower one is the service; of equal ones, who did not send first.
class Connections {
 public:
  /// 65 MiB, and half of it again while the table grows to that.
  static constexpr std::size_t most_connections = std::size_t{1} << 17U;
  /// Segments that are followed in a direction at once; more are counted and passed over.
  static constexpr std::size_t most_followed = 8;

  /// What is finished goes to `finished`, what was sent again to `sink`. All must outlive this.
  Connections(ObservationBatch& finished, ObservationSink& sink, TrackerCounts& counts);

  [[nodiscard]] bool empty() const { return connections_.empty(); }
  [[nodiscard]] std::size_t size_bytes() const { return connections_.size_bytes(); }
  [[nodiscard]] std::uint64_t hash_of(const ExchangeKey& key) const { return connections_.hash_of(key); }
  /// As SlotTable's.
  void prefetch_place(std::uint64_t hash) const { connections_.prefetch_place(hash); }
  void prefetch_entry(std::uint64_t hash) const { connections_.prefetch_entry(hash); }
  void add(const ExchangeKey& key, std::uint64_t hash, const Segment& segment);

 private:
  /// A segment that is not acknowledged yet. All zeros is none.
  struct Followed {
    std::int64_t sent_ns;
    std::uint32_t end;
    std::uint32_t timestamp;
    std::uint32_t packet;
    /// It was sent again, or something before it was lost.
    bool tainted;
    bool has_timestamp;
    std::uint8_t hops_left;

    /// Whether it is the same packet on another interface on its way. The sequence numbers are the same.
    [[nodiscard]] bool is_sighting(const Segment& segment) const;
  };
  /// What one end sends. All zeros is the state before the first segment.
  struct Direction {
    std::uint32_t next_sequence;
    std::uint32_t acknowledged;
    std::uint32_t largest_bytes;
    /// Of the request that ends with the last data.
    std::uint32_t request_packet;
    std::int64_t request_ns;
    std::uint32_t acked_after_us;
    /// Of what is followed in Connection::followed; what stands behind is of before.
    std::uint8_t followed_count;
    bool has_sent : 1;
    bool awaits_response : 1;
    /// Its FIN was seen.
    bool has_ended : 1;
  };
  using FollowedSegments = std::array<Followed, most_followed>;
  static constexpr std::size_t cache_line_bytes = 64;
  /// In the order in which it is needed: one cache line tells which connection it is, the next the state of both directions, and of
  /// what they follow the first is mostly all.
  struct alignas(cache_line_bytes) Connection {
    ExchangeKey key;
    std::int64_t last_ns = 0;
    /// Index of the direction that asks.
    std::uint8_t asking = 0;
    alignas(cache_line_bytes) std::array<Direction, 2> directions = {};
    std::array<FollowedSegments, 2> followed = {};

    void prefetch() const;
    [[nodiscard]] bool idle() const;
    [[nodiscard]] bool spare(std::int64_t now_ns) const;
    [[nodiscard]] std::int64_t worth() const;
  };

  /// Of `sender`'s segments.
  void take_ack(Connection& connection, std::size_t sender, const Segment& ack);
  void tell(const Connection& connection, std::size_t sender, const Followed& followed, const Segment& ack, bool may_be_delayed,
            bool by_timestamp);
  void take_data(Connection& connection, std::size_t sender, const Segment& segment);
  /// Whether any of it is new.
  [[nodiscard]] bool take_old(Connection& connection, std::size_t sender, const Segment& segment, std::uint32_t end);
  void follow(Connection& connection, std::size_t sender, const Segment& segment, std::uint32_t end, bool tainted);
  void take_turn(Connection& connection, std::size_t sender, const Segment& segment);

  ObservationBatch& finished_;
  ObservationSink& sink_;
  TrackerCounts& counts_;
  SlotTable<Connection> connections_;
};

}  // namespace stallscope::capture
