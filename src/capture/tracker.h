// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "capture/decode.h"
#include "capture/exchange.h"
#include "capture/packet.h"

namespace stallscope::capture {

/// Where finished exchanges go.
class ObservationSink {
 public:
  ObservationSink() = default;
  ObservationSink(const ObservationSink&) = delete;
  ObservationSink& operator=(const ObservationSink&) = delete;
  ObservationSink(ObservationSink&&) = delete;
  ObservationSink& operator=(ObservationSink&&) = delete;
  virtual ~ObservationSink() = default;
  virtual void take(const Observation& observation) = 0;
};

struct TrackerCounts {
  std::int64_t packet_count = 0;
  /// Not IP, or a link layer that is not decoded.
  std::int64_t other_count = 0;
  /// Cut off before what is looked at.
  std::int64_t truncated_count = 0;
  std::int64_t fragment_count = 0;
  std::int64_t tunnelled_count = 0;
  std::int64_t request_count = 0;
  std::int64_t answer_count = 0;
  /// The same packet again within a millisecond: seen on another interface on its way, not sent again.
  std::int64_t duplicate_count = 0;
  std::int64_t resent_count = 0;
  /// Requests that were forgotten for want of room before an answer was seen; told to the sink as unanswered.
  std::int64_t forgotten_count = 0;
  /// Packets that are older than one before them, and answers older than their request, which are left out.
  std::int64_t backwards_count = 0;
  std::int64_t impossible_count = 0;
  std::int64_t first_ns = 0;
  std::int64_t last_ns = 0;
};

/// Pairs requests with their answers, packet by packet: SYN with SYN-ACK or RST, echo request with reply; of tunnelled packets the
/// innermost. Which of several SYNs was answered is told by the timestamp that the answer echoes (RFC 7323); without timestamps it
/// is taken to be the last.
///
/// Memory is what make() takes and no more: one cache line for each exchange, in a table without growth. Where it is full, the
/// exchange that is answered, else the oldest near by, gives way.
class Tracker {
 public:
  /// 256 MiB.
  static constexpr std::size_t most_exchanges = std::size_t{1} << 22U;

  /// `expected_exchanges` decides about the table's size, within bounds. `sink` must outlive this.
  Tracker(std::size_t expected_exchanges, ObservationSink& sink);
  ~Tracker();
  Tracker(const Tracker&) = delete;
  Tracker& operator=(const Tracker&) = delete;
  Tracker(Tracker&&) = delete;
  Tracker& operator=(Tracker&&) = delete;

  void add(std::span<const Packet> packets);
  /// Tells the sink of what is unanswered. To be called once, last.
  void finish();
  [[nodiscard]] const TrackerCounts& counts() const { return counts_; }

 private:
  struct Entry;
  struct Step;
  struct Unmap {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): always given; with a default this could not be a unique_ptr's deleter
    std::size_t size;
    void operator()(Entry* entries) const;
  };

  [[nodiscard]] bool prepare(const Packet& packet, Decoded& decoded, Step& step);
  [[nodiscard]] std::size_t slot_of(const ExchangeKey& key) const;
  [[nodiscard]] Entry* find(const ExchangeKey& key, std::size_t slot);
  Entry& make_room(std::size_t slot);
  void request(const Step& step);
  void answer(const Step& step);

  ObservationSink& sink_;
  std::unique_ptr<Entry[], Unmap> entries_;
  std::size_t mask_ = 0;
  std::uint64_t seed_ = 0;
  std::int64_t newest_ns_ = 0;
  TrackerCounts counts_;
};

}  // namespace stallscope::capture
