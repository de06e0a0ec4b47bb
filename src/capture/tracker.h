// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "capture/connections.h"
#include "capture/exchange.h"
#include "capture/observation_batch.h"
#include "capture/packet_facts.h"
#include "capture/slot_table.h"

namespace stallscope::capture {

/// Pairs requests with their answers, packet by packet: SYN with SYN-ACK or RST, echo request with reply, data with its ACK and a
/// request with the response to it; of tunnelled packets the innermost. Which of several SYNs was answered is told by the timestamp
/// that the answer echoes (RFC 7323); without timestamps it is taken to be the last.
///
/// Memory is bounded: what is open at once is kept in tables with a limit. Where one is full, the exchange that is answered, else
/// the oldest near by, gives way.
class Tracker {
 public:
  /// 162 MiB, and half of it again while the table grows to that.
  static constexpr std::size_t most_exchanges = std::size_t{1} << 21U;

  /// `sink` must outlive this.
  explicit Tracker(ObservationSink& sink);

  void add(std::span<const PacketFacts> packets);
  /// Tells the sink of what is unanswered. To be called once, last.
  void finish();
  /// Those of single packets are FactReader's.
  [[nodiscard]] const TrackerCounts& counts() const { return counts_; }

 private:
  struct Entry {
    ExchangeKey key;
    std::int64_t first_ns = 0;
    std::uint32_t sequence = 0;
    std::uint32_t timestamp = 0;
    std::uint32_t first_packet = 0;
    std::uint32_t last_packet = 0;
    /// The last time it was sent, counted from the first.
    std::uint32_t resent_after_us = 0;
    /// The last sighting of what was sent then, counted from the first.
    std::uint32_t passed_us = 0;
    std::uint16_t queued_ticks = 0;
    bool answered = false;
    bool has_timestamp = false;
    std::uint8_t resent_count = 0;
    std::uint8_t hops_left = 0;

    /// Whether it is the last request again, on another interface on its way.
    [[nodiscard]] bool is_sighting(const Segment& segment) const;
    [[nodiscard]] std::int64_t last_ns() const;
    [[nodiscard]] bool spare(std::int64_t now_ns) const;
    [[nodiscard]] std::int64_t worth() const;
    void prefetch() const;
    /// As one without an answer.
    void describe(Observation& observation) const;
  };
  static_assert(sizeof(Entry) == 80, "what most_exchanges of them take is promised");

  [[nodiscard]] std::uint64_t hash_of(const PacketFacts& facts) const;
  /// Whether the tables are too large for the CPU's caches.
  [[nodiscard]] bool worth_fetching() const;
  /// In two steps, each for several packets: see SlotTable.
  void prefetch_place(const PacketFacts& facts, std::uint64_t hash) const;
  void prefetch_entry(const PacketFacts& facts, std::uint64_t hash) const;
  void take(const PacketFacts& facts, std::uint64_t hash);
  void request(const PacketFacts& facts, std::uint64_t hash);
  /// A request with the key of one before. False: it begins another exchange, in the same entry.
  bool take_again(Entry& entry, const PacketFacts& facts);
  void answer(const PacketFacts& facts, std::uint64_t hash);

  ObservationSink& sink_;
  ObservationBatch finished_;
  SlotTable<Entry> exchanges_;
  Connections connections_;
  TrackerCounts counts_;
};

}  // namespace stallscope::capture
