// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "capture/connections.h"
#include "capture/decode.h"
#include "capture/exchange.h"
#include "capture/packet.h"
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
  /// 168 MiB, and half of it again while the table grows to that.
  static constexpr std::size_t most_exchanges = std::size_t{1} << 21U;

  /// `sink` must outlive this.
  explicit Tracker(ObservationSink& sink);

  void add(std::span<const Packet> packets);
  /// Tells the sink of what is unanswered. To be called once, last.
  void finish();
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
    [[nodiscard]] Observation unanswered() const;
  };
  static_assert(sizeof(Entry) == 80, "what most_exchanges of them take is promised");

  enum class StepKind : std::uint8_t { request, answer, segment };
  /// What a packet is to be taken for, with all that is needed of it.
  struct Step {
    StepKind kind = StepKind::request;
    evidence::AnswerKind answer = evidence::AnswerKind::none;
    std::uint16_t queued_ticks = 0;
    Segment segment;
    ExchangeKey key;
    std::uint64_t hash = 0;
  };

  [[nodiscard]] bool prepare(const Packet& packet, Decoded& decoded, Step& step);
  static void prepare_tcp(const Decoded& decoded, Step& step);
  static void prepare_echo(const Decoded& decoded, Step& step);
  void take(const Step& step);
  void request(const Step& step);
  void answer(const Step& step);

  ObservationSink& sink_;
  SlotTable<Entry> exchanges_;
  Connections connections_;
  bool data_seen_ = false;
  std::int64_t newest_ns_ = 0;
  TrackerCounts counts_;
};

}  // namespace stallscope::capture
