// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "capture/bytes.h"
#include "evidence/records.h"

namespace stallscope::capture {

/// What is asked and answered.
enum class ExchangeKind : std::uint8_t {
  none,
  /// A connection is opened.
  handshake,
  echo,
  /// A segment of a connection, and the ACK that covers it.
  data,
  /// The last byte of a request, and the first one that comes back.
  response,
};
/// "handshake", "echo", "data", "response": as the CSV names it.
[[nodiscard]] std::string_view exchange_kind_id(ExchangeKind kind);

/// Who asks whom. IPv4 addresses are in the first four bytes, the rest is zero.
struct ExchangeKey {
  std::array<std::uint8_t, 16> near{};
  std::array<std::uint8_t, 16> far{};
  /// Of an echo: identifier and sequence number.
  std::uint16_t near_port = 0;
  std::uint16_t far_port = 0;
  ExchangeKind kind = ExchangeKind::none;
  bool v6 = false;
  /// IANA's number, where flows of several are in one table; else 0.
  std::uint16_t protocol = 0;

  friend bool operator==(const ExchangeKey&, const ExchangeKey&) = default;
};
static_assert(sizeof(ExchangeKey) == 40, "it is compared and hashed as five words");

/// A key as five words, as it is hashed and compared.
using KeyWords = std::array<std::uint64_t, sizeof(ExchangeKey) / sizeof(std::uint64_t)>;

/// Addresses of 4 or 16 bytes from a packet. The caller makes a key of it by std::bit_cast: returned as one, it goes through
/// memory. Word by word for the same reason: what is stored in pieces and loaded in words at once, as for each packet, has to wait
/// for the stores.
[[nodiscard]] inline KeyWords key_words(ExchangeKind kind, bool v6, const std::uint8_t* near, const std::uint8_t* far,
                                        std::uint16_t near_port, std::uint16_t far_port) {
  constexpr bool little = std::endian::native == std::endian::little;
  // Where each member lies within the last word.
  const auto member = [](std::uint64_t value, std::size_t at, std::size_t size) {
    return value << (8 * (little ? at : sizeof(std::uint64_t) - at - size));
  };
  constexpr std::size_t ports_at = offsetof(ExchangeKey, near_port);
  const std::uint64_t last = member(near_port, 0, sizeof(near_port)) |
                             member(far_port, offsetof(ExchangeKey, far_port) - ports_at, sizeof(far_port)) |
                             member(static_cast<std::uint8_t>(kind), offsetof(ExchangeKey, kind) - ports_at, sizeof(kind)) |
                             member(v6 ? 1 : 0, offsetof(ExchangeKey, v6) - ports_at, sizeof(v6));
  if (v6) {
    return {load<std::uint64_t>(near), load<std::uint64_t>(near + 8), load<std::uint64_t>(far), load<std::uint64_t>(far + 8), last};
  }
  const auto short_near = load<std::uint32_t>(near);
  const auto short_far = load<std::uint32_t>(far);
  return {member(short_near, 0, sizeof(short_near)), 0, member(short_far, 0, sizeof(short_far)), 0, last};
}

/// Not with `==` of each member: five words are compared at once.
[[nodiscard]] inline bool same(const ExchangeKey& a, const ExchangeKey& b) {
  return std::memcmp(&a, &b, sizeof(ExchangeKey)) == 0;
}

/// Seeded, because who sends packets could choose them to fall into one neighbourhood of a table.
[[nodiscard]] inline std::uint64_t hash(const ExchangeKey& key, std::uint64_t seed) {
  __extension__ using Wide = unsigned __int128;
  const auto fold = [](std::uint64_t a, std::uint64_t b) {
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
  };
  constexpr std::uint64_t odd_1 = 0x9e3779b97f4a7c15;
  constexpr std::uint64_t odd_2 = 0xd6e8feb86659fd93;
  const auto words = std::bit_cast<KeyWords>(key);
  std::uint64_t state = fold(words[0] ^ seed, words[2] ^ odd_1 ^ (seed >> 1U));
  if (key.v6) {
    state = fold(state ^ words[1], words[3] ^ odd_2);
  }
  // A multiplication alone leaves keys that count up in a pattern, which for some seeds leaves out buckets. Shifts break it.
  state = (state ^ words[4]) * odd_2;
  state = (state ^ (state >> 32U)) * odd_1;
  return state ^ (state >> 32U);
}

[[nodiscard]] std::uint64_t random_seed();

/// For containers.
struct KeyHash {
  std::uint64_t seed = random_seed();
  std::size_t operator()(const ExchangeKey& key) const { return hash(key, seed); }
};

/// 4 or 16 bytes from a packet.
inline void copy_address(std::array<std::uint8_t, 16>& to, const std::uint8_t* from, bool v6) {
  if (v6) {
    std::memcpy(to.data(), from, 16);
  } else {
    std::memcpy(to.data(), from, 4);
    std::memset(to.data() + 4, 0, 12);
  }
}

/// A request and what became of it.
struct Observation {
  static constexpr std::int64_t not_answered = -1;

  ExchangeKey key;
  /// Of the request that was answered; of the first where none was. Since 1970, by the clock of who captured.
  std::int64_t sent_ns = 0;
  std::int64_t answered_ns = not_answered;
  /// Initial sequence number of a SYN; of data the one after its last byte; 0 of an echo.
  std::uint32_t sequence = 0;
  /// Packet::number of the request and of its answer; 0 where there is none.
  std::uint32_t request_packet = 0;
  std::uint32_t answer_packet = 0;
  /// Of a response: when the request was acknowledged, counted from it; 0: not before the response.
  std::uint32_t acked_after_us = 0;
  /// What NAT and tunnels leave as it is of a request, beside `sequence`: of TCP the timestamp value (RFC 7323), of an echo
  /// Decoded::echo_mark. 0: nothing is known.
  std::uint32_t mark = 0;
  /// How long after its first sighting the request was last seen on its way through the host that captured, and the same of the
  /// answer; 0: seen once.
  std::uint32_t request_passed_us = 0;
  std::uint32_t answer_passed_us = 0;
  /// By how much the request's time lies before that of packets which stand before it in the capture, in ms / 64 and at most a
  /// second. Linux stamps a packet before it puts it into a CPU's backlog (net.core.netdev_tstamp_prequeue) and hands it to a
  /// capture when it takes it out: a packet that waited there stands too late for its time.
  std::uint16_t queued_ticks = 0;
  evidence::AnswerKind answer = evidence::AnswerKind::none;
  /// How often the request was sent again before.
  std::uint8_t resent_count = 0;
  /// Of the request, when it was first seen.
  std::uint8_t hops_left = 0;
  /// The same exchange with other addresses, before and after NAT: in how many pairs of addresses it was seen.
  std::uint8_t leg_count = 1;
  /// Of data: told from other transmissions of the same bytes by the timestamp that the ACK echoes (RFC 7323).
  bool by_timestamp = false;
  /// Of data: the ACK may have been delayed on purpose (RFC 9293, section 3.8.6.3), so that its lateness proves nothing.
  bool may_be_delayed = false;

  [[nodiscard]] bool answered() const { return answered_ns != not_answered; }
  /// Whether it was seen several times on its way.
  [[nodiscard]] bool passed() const { return leg_count > 1 || request_passed_us > 0; }
  static constexpr std::int64_t ns_per_queued_tick = 15'625;
  [[nodiscard]] std::int64_t queued_ns() const { return queued_ticks * ns_per_queued_tick; }
  [[nodiscard]] std::int64_t rtt_ns() const { return answered_ns - sent_ns; }

  friend bool operator==(const Observation&, const Observation&) = default;
};

/// Where finished exchanges go.
class ObservationSink {
 public:
  ObservationSink() = default;
  ObservationSink(const ObservationSink&) = delete;
  ObservationSink& operator=(const ObservationSink&) = delete;
  ObservationSink(ObservationSink&&) = delete;
  ObservationSink& operator=(ObservationSink&&) = delete;
  virtual ~ObservationSink() = default;
  virtual void take(std::span<const Observation> observations) = 0;
  /// A SYN or data of this flow was sent again.
  virtual void resent(const ExchangeKey& /*key*/) {}
};

/// What can be told of packets one by one.
struct PacketCounts {
  std::int64_t packet_count = 0;
  /// Not IP, or a link layer that is not decoded.
  std::int64_t other_count = 0;
  /// Cut off before what is looked at.
  std::int64_t truncated_count = 0;
  std::int64_t fragment_count = 0;
  std::int64_t tunnelled_count = 0;
  /// Older than one before them.
  std::int64_t backwards_count = 0;
  std::int64_t first_ns = 0;
  std::int64_t last_ns = 0;

  friend bool operator==(const PacketCounts&, const PacketCounts&) = default;
};

struct TrackerCounts : PacketCounts {
  std::int64_t request_count = 0;
  std::int64_t answer_count = 0;
  /// The same packet again within a millisecond: seen on another interface on its way, not sent again.
  std::int64_t duplicate_count = 0;
  /// SYNs.
  std::int64_t resent_count = 0;
  /// Requests that were forgotten for want of room before an answer was seen; told to the sink as unanswered.
  std::int64_t forgotten_count = 0;
  /// Answers older than their request, which are left out.
  std::int64_t impossible_count = 0;
  /// TCP segments with data or FIN.
  std::int64_t segment_count = 0;
  /// ... all bytes of which had been sent before.
  std::int64_t retransmitted_count = 0;
  /// ... that came while as many of their direction were under way as are remembered.
  std::int64_t unfollowed_count = 0;
  /// RTTs of data; of them, those that took a timestamp to tell.
  std::int64_t data_rtt_count = 0;
  std::int64_t timestamp_rtt_count = 0;
  /// ACKs of bytes that were sent more than once, where no timestamp tells which is meant (Karn's rule).
  std::int64_t ambiguous_count = 0;
  /// Connections that gave way to others with data of theirs under way.
  std::int64_t forgotten_connection_count = 0;

  friend bool operator==(const TrackerCounts&, const TrackerCounts&) = default;
};

}  // namespace stallscope::capture
