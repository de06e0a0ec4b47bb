// SPDX-License-Identifier: Apache-2.0
#include "capture/tracker.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/units.h"

namespace stallscope::capture {
namespace {

/// Packets whose entries are fetched from memory at the same time. More than a CPU has outstanding fetches gains nothing.
constexpr std::size_t batch_size = 32;
/// A host takes 200 ms at least to send something again; several interfaces of a host see a packet within less than this, unless it
/// is held between them.
constexpr std::int64_t duplicate_within_ns = base::ns_per_ms;
/// A SYN is sent again after a second (RFC 6298, section 2.1), and its timestamp has changed by then: what comes earlier with the
/// same one was sent once.
constexpr std::int64_t held_within_host_ns = 500 * base::ns_per_ms;
/// An exchange that was answered is only kept to know such packets again.
constexpr std::int64_t spare_after_ns = 10 * duplicate_within_ns;

}  // namespace

std::int64_t Tracker::Entry::last_ns() const {
  return first_ns + (std::int64_t{resent_after_us} * base::ns_per_us);
}
bool Tracker::Entry::spare(std::int64_t now_ns) const {
  return answered && now_ns - last_ns() > spare_after_ns;
}
std::int64_t Tracker::Entry::worth() const {
  return answered ? first_ns - base::ns_per_s : first_ns;
}

bool Tracker::Entry::is_sighting(const Segment& segment) const {
  const std::int64_t after_ns = segment.time_ns - last_ns();
  const bool same_packet = timestamp != 0 && segment.timestamp == timestamp && segment.hops_left <= hops_left;
  return after_ns >= 0 && after_ns < (same_packet ? held_within_host_ns : duplicate_within_ns);
}

void Tracker::Entry::prefetch() const {
  // It is longer than a cache line.
  __builtin_prefetch(&key, 1);
  __builtin_prefetch(&resent_count, 1);
}

Observation Tracker::Entry::unanswered() const {
  Observation observation;
  observation.key = key;
  observation.sent_ns = first_ns;
  observation.sequence = sequence;
  observation.request_packet = first_packet;
  observation.resent_count = resent_count;
  observation.mark = timestamp;
  observation.request_passed_us = passed_us;
  observation.hops_left = hops_left;
  return observation;
}

Tracker::Tracker(ObservationSink& sink) : sink_(sink), exchanges_(most_exchanges), connections_(sink, counts_) {}

bool Tracker::prepare(const Packet& packet, Decoded& decoded, Step& step) {
  decode(packet.data, packet.link, decoded);
  sink_.packet(packet, decoded);
  counts_.other_count += decoded.ip_count == 0 && !decoded.truncated ? 1 : 0;
  counts_.truncated_count += decoded.truncated ? 1 : 0;
  counts_.fragment_count += decoded.fragment ? 1 : 0;
  counts_.tunnelled_count += decoded.ip_count > 1 ? 1 : 0;
  counts_.backwards_count += packet.time_ns < newest_ns_ ? 1 : 0;
  const std::int64_t queued_ns = std::max<std::int64_t>(newest_ns_ - packet.time_ns, 0);
  newest_ns_ = std::max(newest_ns_, packet.time_ns);
  const bool tcp = decoded.transport == Transport::tcp;
  if (!tcp && decoded.transport != Transport::icmp_echo_request && decoded.transport != Transport::icmp_echo_reply) {
    return false;
  }
  const IpHeader& ip = decoded.inner();
  step.segment.time_ns = packet.time_ns;
  step.segment.packet = packet.number;
  step.segment.hops_left = ip.hops_left;
  step.answer = evidence::AnswerKind::none;
  step.queued_ticks = static_cast<std::uint16_t>(
      std::min<std::int64_t>(queued_ns / Observation::ns_per_queued_tick, std::numeric_limits<std::uint16_t>::max()));
  if (tcp) {
    prepare_tcp(decoded, step);
  } else {
    prepare_echo(decoded, step);
  }
  const bool reverse = step.kind == StepKind::answer;
  const std::uint8_t* const near = reverse ? ip.destination : ip.source;
  const std::uint8_t* const far = reverse ? ip.source : ip.destination;
  std::uint16_t near_port = decoded.echo_id;
  std::uint16_t far_port = decoded.echo_sequence;
  if (tcp) {
    near_port = reverse ? decoded.destination_port : decoded.source_port;
    far_port = reverse ? decoded.source_port : decoded.destination_port;
  }
  const KeyWords words = key_words(tcp ? ExchangeKind::handshake : ExchangeKind::echo, ip.v6, near, far, near_port, far_port);
  step.key = words.key();
  if (step.kind == StepKind::segment) {
    // Without data there is nothing to follow, and nothing is looked up.
    data_seen_ = data_seen_ || step.segment.payload_bytes > 0;
    if (!data_seen_) {
      return false;
    }
    step.key = Connections::key_of(step.key, step.segment.from_near);
    step.hash = connections_.hash_of(step.key);
    connections_.prefetch_place(step.hash);
    return true;
  }
  step.hash = exchanges_.hash_of(words, ip.v6);
  exchanges_.prefetch_place(step.hash);
  return true;
}

void Tracker::prepare_tcp(const Decoded& decoded, Step& step) {
  step.segment.flags = decoded.tcp_flags;
  step.segment.sequence = decoded.tcp_sequence;
  step.segment.acknowledgement = decoded.tcp_acknowledgement;
  step.segment.payload_bytes = decoded.fragment ? 0 : decoded.tcp_payload_bytes;
  step.segment.has_timestamps = decoded.has_timestamps;
  step.segment.timestamp = decoded.has_timestamps ? decoded.timestamp_value : 0;
  step.segment.timestamp_echo = decoded.has_timestamps ? decoded.timestamp_echo : 0;
  constexpr std::uint8_t deciding = tcp_flag::syn | tcp_flag::ack | tcp_flag::rst;
  if (decoded.is(tcp_flag::syn, deciding)) {
    step.kind = StepKind::request;
  } else if (decoded.is(tcp_flag::syn | tcp_flag::ack, deciding)) {
    step.kind = StepKind::answer;
    step.answer = evidence::AnswerKind::syn_ack;
  } else if (decoded.is(tcp_flag::rst | tcp_flag::ack, tcp_flag::rst | tcp_flag::ack)) {
    step.kind = StepKind::answer;
    step.answer = evidence::AnswerKind::reset;
  } else {
    step.kind = StepKind::segment;
  }
}

void Tracker::prepare_echo(const Decoded& decoded, Step& step) {
  const bool answers = decoded.transport == Transport::icmp_echo_reply;
  step.kind = answers ? StepKind::answer : StepKind::request;
  step.answer = answers ? evidence::AnswerKind::echo_reply : evidence::AnswerKind::none;
  step.segment.sequence = 0;
  step.segment.has_timestamps = false;
  step.segment.timestamp = decoded.echo_mark;
}

void Tracker::take(const Step& step) {
  if (step.kind == StepKind::segment) {
    connections_.add(step.key, step.hash, step.segment);
    return;
  }
  if (step.key.kind == ExchangeKind::handshake && !connections_.empty()) {
    // What has these ports begins anew, or is over.
    Segment segment = step.segment;
    const ExchangeKey key = Connections::key_of(step.key, segment.from_near);
    connections_.add(key, connections_.hash_of(key), segment);
  }
  if (step.kind == StepKind::request) {
    request(step);
  } else {
    answer(step);
  }
}

void Tracker::request(const Step& step) {
  ++counts_.request_count;
  const Segment& segment = step.segment;
  Entry* entry = exchanges_.find(step.key, step.hash);
  if (entry != nullptr && entry->sequence == segment.sequence) {
    const std::int64_t after_ns = segment.time_ns - entry->last_ns();
    if (entry->is_sighting(segment)) {
      ++counts_.duplicate_count;
      entry->passed_us = static_cast<std::uint32_t>(after_ns / base::ns_per_us);
      return;
    }
    // An echo's number comes round again; a SYN is the same one.
    if (step.key.kind == ExchangeKind::handshake && after_ns >= 0) {
      ++counts_.resent_count;
      sink_.resent(step.key);
      const std::int64_t since_first_us = (segment.time_ns - entry->first_ns) / base::ns_per_us;
      entry->resent_after_us =
          static_cast<std::uint32_t>(std::min<std::int64_t>(since_first_us, std::numeric_limits<std::uint32_t>::max()));
      entry->resent_count = static_cast<std::uint8_t>(std::min(entry->resent_count + 1, 255));
      entry->passed_us = 0;
      entry->last_packet = segment.packet;
      return;
    }
  }
  if (entry != nullptr && !entry->answered) {
    sink_.take(entry->unanswered());
  }
  if (entry == nullptr) {
    entry = &exchanges_.make_room(step.hash, segment.time_ns, [&](const Entry& old) {
      if (!old.answered) {
        ++counts_.forgotten_count;
        sink_.take(old.unanswered());
      }
    });
  }
  entry->key = step.key;
  entry->first_ns = segment.time_ns;
  entry->sequence = segment.sequence;
  entry->timestamp = segment.timestamp;
  entry->first_packet = segment.packet;
  entry->last_packet = segment.packet;
  entry->resent_after_us = 0;
  entry->passed_us = 0;
  entry->hops_left = segment.hops_left;
  entry->queued_ticks = step.queued_ticks;
  entry->answered = false;
  entry->has_timestamp = segment.has_timestamps;
  entry->resent_count = 0;
}

void Tracker::answer(const Step& step) {
  ++counts_.answer_count;
  const Segment& segment = step.segment;
  Entry* const entry = exchanges_.find(step.key, step.hash);
  // An answer acknowledges the SYN, which counts as one byte (RFC 9293, section 3.4).
  const std::uint32_t answered = step.key.kind == ExchangeKind::echo ? 0 : segment.acknowledgement - 1;
  if (entry == nullptr || entry->answered || entry->sequence != answered) {
    return;
  }
  const bool answers_first =
      entry->resent_count == 0 || (entry->has_timestamp && segment.has_timestamps && entry->timestamp == segment.timestamp_echo);
  Observation observation = entry->unanswered();
  observation.sent_ns = answers_first ? entry->first_ns : entry->last_ns();
  if (segment.time_ns < observation.sent_ns) {
    ++counts_.impossible_count;
    return;
  }
  entry->answered = true;
  if (!answers_first) {
    // The first was lost, or its answer was; that is not the time of the one that came.
    Observation first = entry->unanswered();
    first.resent_count = 0;
    first.request_passed_us = 0;
    sink_.take(first);
    observation.request_packet = entry->last_packet;
    observation.mark = segment.has_timestamps ? segment.timestamp_echo : 0;
  }
  observation.answered_ns = segment.time_ns;
  observation.answer_packet = segment.packet;
  observation.answer = step.answer;
  observation.resent_count = answers_first ? std::uint8_t{0} : entry->resent_count;
  observation.queued_ticks = entry->queued_ticks;
  sink_.take(observation);
}

void Tracker::add(std::span<const Packet> packets) {
  std::array<Step, batch_size> steps;
  Decoded decoded;
  while (!packets.empty()) {
    const auto batch = packets.first(std::min(packets.size(), batch_size));
    packets = packets.subspan(batch.size());
    if (counts_.packet_count == 0) {
      counts_.first_ns = batch.front().time_ns;
      counts_.last_ns = counts_.first_ns;
      newest_ns_ = counts_.first_ns;
    }
    std::size_t count = 0;
    for (const Packet& packet : batch) {
      counts_.first_ns = std::min(counts_.first_ns, packet.time_ns);
      counts_.last_ns = std::max(counts_.last_ns, packet.time_ns);
      count += prepare(packet, decoded, steps[count]) ? 1U : 0U;
    }
    counts_.packet_count += static_cast<std::int64_t>(batch.size());
    for (std::size_t at = 0; at < count; ++at) {
      if (steps[at].kind == StepKind::segment) {
        connections_.prefetch_entry(steps[at].hash);
      } else {
        exchanges_.prefetch_entry(steps[at].hash);
      }
    }
    for (std::size_t at = 0; at < count; ++at) {
      take(steps[at]);
    }
  }
}

void Tracker::finish() {
  exchanges_.each([&](const Entry& entry) {
    if (!entry.answered) {
      sink_.take(entry.unanswered());
    }
  });
}

}  // namespace stallscope::capture
