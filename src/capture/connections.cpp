// SPDX-License-Identifier: Apache-2.0
#include "capture/connections.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "base/units.h"
#include "capture/decode.h"

namespace stallscope::capture {
namespace {

/// A connection that was silent for so long may give way; Linux probes one that is not idle more often (RTO, 120 s at most).
constexpr std::int64_t idle_after_ns = 10 * base::ns_per_s;
/// No window is larger (RFC 7323, section 2.3): what is further away belongs to another connection with the same ports.
constexpr std::int32_t largest_window = 1 << 30;
/// What a full-sized segment has, between that of Ethernet and that of jumbo frames. What offload hands over in one piece is longer
/// than any on the wire, and small ones are no measure.
constexpr std::uint32_t least_full_bytes = 1'460;
constexpr std::uint32_t most_full_bytes = 9'000;
/// An ACK may be delayed for less than this, whoever delays it (RFC 9293, section 3.8.6.3).
constexpr std::int64_t longest_delayed_ack_ns = 500 * base::ns_per_ms;
constexpr std::int64_t seen_twice_within_ns = base::ns_per_ms;
/// Data may be sent again within a millisecond's tick of the timestamp, but not with a hop less: that took a router.
constexpr std::int64_t forwarded_within_ns = 500 * base::ns_per_ms;

/// `a` less `b`, in the arithmetic of sequence numbers (RFC 9293, section 3.4).
std::int32_t after(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::int32_t>(a - b);
}

}  // namespace

bool Connections::Followed::is_sighting(const Segment& segment) const {
  const std::int64_t since_ns = segment.time_ns - sent_ns;
  const bool forwarded = has_timestamp && segment.has_timestamps && segment.hops_left < hops_left;
  return timestamp == segment.timestamp && since_ns >= 0 && since_ns < (forwarded ? forwarded_within_ns : seen_twice_within_ns);
}
bool Connections::Connection::idle() const {
  return directions[0].followed_count == 0 && directions[1].followed_count == 0;
}
bool Connections::Connection::spare(std::int64_t now_ns) const {
  const bool over = directions[0].has_ended && directions[1].has_ended && idle();
  return over || now_ns - last_ns > idle_after_ns;
}
std::int64_t Connections::Connection::worth() const {
  return last_ns;
}
void Connections::Connection::prefetch() const {
  __builtin_prefetch(&key, 1);
  __builtin_prefetch(&directions, 1);
  for (const FollowedSegments& segments : followed) {
    __builtin_prefetch(&segments, 1);
  }
}

Connections::Connections(ObservationBatch& finished, ObservationSink& sink, TrackerCounts& counts)
    : finished_(finished), sink_(sink), counts_(counts), connections_(most_connections) {}

void Connections::add(const ExchangeKey& key, std::uint64_t hash, const Segment& segment) {
  constexpr unsigned starts_or_ends = tcp_flag::syn | tcp_flag::rst;
  Connection* connection = connections_.find(key, hash);
  if ((segment.flags & starts_or_ends) != 0) {
    if (connection != nullptr) {
      connection->directions = {};
      // After a reset it may give way at once.
      connection->last_ns = (segment.flags & tcp_flag::rst) != 0 ? 0 : segment.time_ns;
    }
    return;
  }
  if (connection == nullptr) {
    if (segment.payload_bytes == 0) {
      return;
    }
    connection = &connections_.make_room(hash, segment.time_ns,
                                         [&](const Connection& old) { counts_.forgotten_connection_count += old.idle() ? 0 : 1; });
    connection->key = key;
    connection->directions = {};
    const std::uint8_t sender = segment.from_near ? 0 : 1;
    connection->asking = key.near_port == key.far_port ? sender : key.near_port < key.far_port ? 1 : 0;
  }
  connection->last_ns = segment.time_ns;
  const std::size_t sender = segment.from_near ? 0 : 1;
  if ((segment.flags & tcp_flag::ack) != 0) {
    take_ack(*connection, 1 - sender, segment);
  }
  if (segment.payload_bytes > 0 || (segment.flags & tcp_flag::fin) != 0) {
    take_data(*connection, sender, segment);
  }
}

void Connections::take_ack(Connection& connection, std::size_t sender, const Segment& ack) {
  Direction& direction = connection.directions[sender];
  FollowedSegments& segments = connection.followed[sender];
  const std::uint32_t number = ack.acknowledgement;
  if (!direction.has_sent || after(number, direction.acknowledged) <= 0) {
    return;
  }
  // RFC 9293: at least every second full-sized segment is acknowledged at once. With less there is time to wait for more.
  const std::uint32_t covered_bytes = number - direction.acknowledged;
  const bool may_be_delayed = covered_bytes <= std::clamp(direction.largest_bytes, least_full_bytes, most_full_bytes);
  direction.acknowledged = number;
  if (direction.awaits_response && ack.payload_bytes == 0 && direction.acked_after_us == 0 &&
      after(number, direction.next_sequence) >= 0) {
    constexpr std::int64_t most_us = std::numeric_limits<std::uint32_t>::max();
    direction.acked_after_us =
        static_cast<std::uint32_t>(std::clamp<std::int64_t>((ack.time_ns - direction.request_ns) / base::ns_per_us, 1, most_us));
  }
  std::optional<Followed> exact;
  std::optional<Followed> echoed;
  std::size_t echoed_count = 0;
  std::uint8_t kept_count = 0;
  for (std::size_t at = 0; at < direction.followed_count; ++at) {
    const Followed followed = segments[at];
    if (after(number, followed.end) < 0) {
      segments[kept_count++] = followed;
      continue;
    }
    if (followed.end == number && (!exact || followed.tainted)) {
      exact = followed;
    }
    if (ack.has_timestamps && followed.has_timestamp && followed.timestamp == ack.timestamp_echo) {
      echoed = followed;
      ++echoed_count;
    }
  }
  direction.followed_count = kept_count;
  if (exact && !exact->tainted) {
    tell(connection, sender, *exact, ack, may_be_delayed, false);
  } else if (echoed_count == 1) {
    // Of several segments that an ACK covers the first is echoed, which waited for the others as well (RFC 7323, section 4.3).
    tell(connection, sender, *echoed, ack, may_be_delayed || !echoed->tainted, true);
  } else if (exact) {
    ++counts_.ambiguous_count;
  }
}

void Connections::tell(const Connection& connection, std::size_t sender, const Followed& followed, const Segment& ack,
                       bool may_be_delayed, bool by_timestamp) {
  if (ack.time_ns < followed.sent_ns) {
    ++counts_.impossible_count;
    return;
  }
  ++counts_.data_rtt_count;
  counts_.timestamp_rtt_count += by_timestamp ? 1 : 0;
  Observation& observation = finished_.add();
  observation.key = connection.key;
  if (sender == 1) {
    std::swap(observation.key.near, observation.key.far);
    std::swap(observation.key.near_port, observation.key.far_port);
  }
  observation.sent_ns = followed.sent_ns;
  observation.answered_ns = ack.time_ns;
  observation.sequence = followed.end;
  observation.request_packet = followed.packet;
  observation.answer_packet = ack.packet;
  observation.answer = evidence::AnswerKind::tcp_ack;
  observation.by_timestamp = by_timestamp;
  observation.mark = followed.has_timestamp ? followed.timestamp : 0;
  observation.hops_left = followed.hops_left;
  observation.may_be_delayed = may_be_delayed && observation.rtt_ns() < longest_delayed_ack_ns;
}

void Connections::take_data(Connection& connection, std::size_t sender, const Segment& segment) {
  Direction& direction = connection.directions[sender];
  const std::uint32_t end = segment.sequence + segment.payload_bytes + ((segment.flags & tcp_flag::fin) != 0 ? 1U : 0U);
  ++counts_.segment_count;
  if (direction.has_sent) {
    const std::int32_t ahead = after(segment.sequence, direction.next_sequence);
    if (ahead > largest_window || ahead < -largest_window) {
      direction = {};
    }
  }
  bool tainted = false;
  if (direction.has_sent && after(segment.sequence, direction.next_sequence) < 0) {
    if (!take_old(connection, sender, segment, end)) {
      return;
    }
    tainted = true;
  }
  if (!direction.has_sent) {
    direction.acknowledged = segment.sequence;
    direction.has_sent = true;
  }
  direction.next_sequence = end;
  direction.largest_bytes = std::max(direction.largest_bytes, segment.payload_bytes);
  direction.has_ended = (segment.flags & tcp_flag::fin) != 0;
  follow(connection, sender, segment, end, tainted);
  if (segment.payload_bytes > 0) {
    take_turn(connection, sender, segment);
  }
}

bool Connections::take_old(Connection& connection, std::size_t sender, const Segment& segment, std::uint32_t end) {
  const Direction& direction = connection.directions[sender];
  FollowedSegments& segments = connection.followed[sender];
  const bool has_new = after(end, direction.next_sequence) > 0;
  // A keep-alive repeats one byte that was acknowledged before (RFC 9293, section 3.8.4).
  if (!has_new && segment.payload_bytes <= 1 && end == direction.next_sequence && direction.followed_count == 0) {
    return false;
  }
  bool followed_before = false;
  for (std::size_t at = 0; at < direction.followed_count; ++at) {
    if (segments[at].end == end && segments[at].is_sighting(segment)) {
      ++counts_.duplicate_count;
      return false;
    }
  }
  for (std::size_t at = 0; at < direction.followed_count; ++at) {
    Followed& followed = segments[at];
    followed_before = followed_before || followed.end == end;
    followed.tainted = followed.tainted || after(followed.end, segment.sequence) > 0;
  }
  if (!has_new) {
    ++counts_.retransmitted_count;
    ExchangeKey key = connection.key;
    if (sender == 1) {
      std::swap(key.near, key.far);
      std::swap(key.near_port, key.far_port);
    }
    sink_.resent(key);
    if (followed_before && segment.has_timestamps) {
      follow(connection, sender, segment, end, true);
    }
  }
  return has_new;
}

void Connections::follow(Connection& connection, std::size_t sender, const Segment& segment, std::uint32_t end, bool tainted) {
  Direction& direction = connection.directions[sender];
  if (direction.followed_count == most_followed) {
    ++counts_.unfollowed_count;
    return;
  }
  connection.followed[sender][direction.followed_count++] = {
      segment.time_ns, end, segment.timestamp, segment.packet, tainted, segment.has_timestamps, segment.hops_left};
}

void Connections::take_turn(Connection& connection, std::size_t sender, const Segment& segment) {
  Direction& asking = connection.directions[connection.asking];
  if (sender == connection.asking) {
    asking.request_ns = segment.time_ns;
    asking.request_packet = segment.packet;
    asking.acked_after_us = 0;
    asking.awaits_response = true;
    return;
  }
  if (!asking.awaits_response) {
    return;
  }
  asking.awaits_response = false;
  if (segment.time_ns < asking.request_ns) {
    ++counts_.impossible_count;
    return;
  }
  Observation& observation = finished_.add();
  observation.key = connection.key;
  if (connection.asking == 1) {
    std::swap(observation.key.near, observation.key.far);
    std::swap(observation.key.near_port, observation.key.far_port);
  }
  observation.key.kind = ExchangeKind::response;
  observation.sent_ns = asking.request_ns;
  observation.answered_ns = segment.time_ns;
  observation.request_packet = asking.request_packet;
  observation.answer_packet = segment.packet;
  observation.acked_after_us = asking.acked_after_us;
}

}  // namespace stallscope::capture
