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

std::uint64_t Tracker::look_up(const PacketFacts& facts) const {
  if (facts.kind == PacketFacts::Kind::segment) {
    const std::uint64_t hash = connections_.hash_of(facts.key);
    connections_.prefetch_place(hash);
    return hash;
  }
  const std::uint64_t hash = exchanges_.hash_of(facts.key);
  exchanges_.prefetch_place(hash);
  return hash;
}

void Tracker::prefetch_entry(const PacketFacts& facts, std::uint64_t hash) const {
  if (facts.kind == PacketFacts::Kind::segment) {
    connections_.prefetch_entry(hash);
  } else {
    exchanges_.prefetch_entry(hash);
  }
}

void Tracker::take(const PacketFacts& facts, std::uint64_t hash) {
  if (facts.kind == PacketFacts::Kind::segment) {
    connections_.add(facts.key, hash, facts.segment);
    return;
  }
  if (facts.key.kind == ExchangeKind::handshake && !connections_.empty()) {
    // What has these ports begins anew, or is over.
    Segment segment = facts.segment;
    const ExchangeKey key = connection_key(facts.key, segment.from_near);
    connections_.add(key, connections_.hash_of(key), segment);
  }
  if (facts.kind == PacketFacts::Kind::request) {
    request(facts, hash);
  } else {
    answer(facts, hash);
  }
}

void Tracker::request(const PacketFacts& facts, std::uint64_t hash) {
  ++counts_.request_count;
  const Segment& segment = facts.segment;
  Entry* entry = exchanges_.find(facts.key, hash);
  if (entry != nullptr && entry->sequence == segment.sequence) {
    const std::int64_t after_ns = segment.time_ns - entry->last_ns();
    if (entry->is_sighting(segment)) {
      ++counts_.duplicate_count;
      entry->passed_us = static_cast<std::uint32_t>(after_ns / base::ns_per_us);
      return;
    }
    // An echo's number comes round again; a SYN is the same one.
    if (facts.key.kind == ExchangeKind::handshake && after_ns >= 0) {
      ++counts_.resent_count;
      sink_.resent(facts.key);
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
    entry = &exchanges_.make_room(hash, segment.time_ns, [&](const Entry& old) {
      if (!old.answered) {
        ++counts_.forgotten_count;
        sink_.take(old.unanswered());
      }
    });
  }
  entry->key = facts.key;
  entry->first_ns = segment.time_ns;
  entry->sequence = segment.sequence;
  entry->timestamp = segment.timestamp;
  entry->first_packet = segment.packet;
  entry->last_packet = segment.packet;
  entry->resent_after_us = 0;
  entry->passed_us = 0;
  entry->hops_left = segment.hops_left;
  entry->queued_ticks = facts.queued_ticks;
  entry->answered = false;
  entry->has_timestamp = segment.has_timestamps;
  entry->resent_count = 0;
}

void Tracker::answer(const PacketFacts& facts, std::uint64_t hash) {
  ++counts_.answer_count;
  const Segment& segment = facts.segment;
  Entry* const entry = exchanges_.find(facts.key, hash);
  // An answer acknowledges the SYN, which counts as one byte (RFC 9293, section 3.4).
  const std::uint32_t answered = facts.key.kind == ExchangeKind::echo ? 0 : segment.acknowledgement - 1;
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
  observation.answer = facts.answer;
  observation.resent_count = answers_first ? std::uint8_t{0} : entry->resent_count;
  observation.queued_ticks = entry->queued_ticks;
  sink_.take(observation);
}

void Tracker::add(std::span<const PacketFacts> packets) {
  std::array<std::uint64_t, batch_size> hashes{};
  while (!packets.empty()) {
    const auto batch = packets.first(std::min(packets.size(), batch_size));
    packets = packets.subspan(batch.size());
    for (std::size_t at = 0; at < batch.size(); ++at) {
      hashes[at] = look_up(batch[at]);
    }
    for (std::size_t at = 0; at < batch.size(); ++at) {
      prefetch_entry(batch[at], hashes[at]);
    }
    for (std::size_t at = 0; at < batch.size(); ++at) {
      take(batch[at], hashes[at]);
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
