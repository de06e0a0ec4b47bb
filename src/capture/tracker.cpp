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
/// What a CPU has at hand anyway, in its second cache: to ask for it takes longer than to wait for it.
constexpr std::size_t cached_bytes = std::size_t{1} << 20U;
/// A host takes 200 ms at least to send something again; several interfaces of a host see a packet within less than this, unless it
/// is held between them.
constexpr std::int64_t duplicate_within_ns = base::ns_per_ms;
/// A SYN is sent again after a second (RFC 6298, section 2.1), and its timestamp has changed by then: what comes earlier with the
/// same one was sent once.
constexpr std::int64_t held_within_host_ns = 500 * base::ns_per_ms;
/// An exchange that was answered is only kept to know such packets again.
constexpr std::int64_t spare_after_ns = 2 * duplicate_within_ns;

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

void Tracker::Entry::describe(Observation& observation) const {
  observation.key = key;
  observation.sent_ns = first_ns;
  observation.sequence = sequence;
  observation.request_packet = first_packet;
  observation.resent_count = resent_count;
  observation.mark = timestamp;
  observation.request_passed_us = passed_us;
  observation.hops_left = hops_left;
}

Tracker::Tracker(ObservationSink& sink)
    : sink_(sink), finished_(sink), exchanges_(most_exchanges), connections_(finished_, sink, counts_) {}

std::uint64_t Tracker::hash_of(const PacketFacts& facts) const {
  return facts.kind == PacketFacts::Kind::segment ? connections_.hash_of(facts.key) : exchanges_.hash_of(facts.key);
}

bool Tracker::worth_fetching() const {
  return exchanges_.size_bytes() > cached_bytes || connections_.size_bytes() > cached_bytes;
}

void Tracker::prefetch_place(const PacketFacts& facts, std::uint64_t hash) const {
  if (facts.kind == PacketFacts::Kind::segment) {
    connections_.prefetch_place(hash);
  } else {
    exchanges_.prefetch_place(hash);
  }
}

void Tracker::prefetch_entry(const PacketFacts& facts, std::uint64_t hash) const {
  if (facts.kind == PacketFacts::Kind::segment) {
    connections_.prefetch_entry(hash);
  } else {
    exchanges_.prefetch_entry(hash);
  }
}

// What most packets go through is inline, as one function: calls would save and restore registers three times for each.
inline void Tracker::request(const PacketFacts& facts, std::uint64_t hash) {
  ++counts_.request_count;
  const Segment& segment = facts.segment;
  Entry* entry = exchanges_.find(facts.key, hash);
  if (entry != nullptr) {
    if (take_again(*entry, facts)) {
      return;
    }
  } else {
    entry = &exchanges_.make_room(hash, segment.time_ns, [&](const Entry& old) {
      if (!old.answered) {
        ++counts_.forgotten_count;
        old.describe(finished_.add());
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

bool Tracker::take_again(Entry& entry, const PacketFacts& facts) {
  const Segment& segment = facts.segment;
  if (entry.sequence == segment.sequence) {
    const std::int64_t after_ns = segment.time_ns - entry.last_ns();
    if (entry.is_sighting(segment)) {
      ++counts_.duplicate_count;
      entry.passed_us = static_cast<std::uint32_t>(after_ns / base::ns_per_us);
      return true;
    }
    // An echo's number comes round again; a SYN is the same one.
    if (facts.key.kind == ExchangeKind::handshake && after_ns >= 0) {
      ++counts_.resent_count;
      sink_.resent(facts.key);
      const std::int64_t since_first_us = (segment.time_ns - entry.first_ns) / base::ns_per_us;
      entry.resent_after_us =
          static_cast<std::uint32_t>(std::min<std::int64_t>(since_first_us, std::numeric_limits<std::uint32_t>::max()));
      entry.resent_count = static_cast<std::uint8_t>(std::min(entry.resent_count + 1, 255));
      entry.passed_us = 0;
      entry.last_packet = segment.packet;
      return true;
    }
  }
  if (!entry.answered) {
    entry.describe(finished_.add());
  }
  return false;
}

inline void Tracker::answer(const PacketFacts& facts, std::uint64_t hash) {
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
  const std::int64_t sent_ns = answers_first ? entry->first_ns : entry->last_ns();
  if (segment.time_ns < sent_ns) {
    ++counts_.impossible_count;
    return;
  }
  entry->answered = true;
  if (!answers_first) {
    // The first was lost, or its answer was; that is not the time of the one that came.
    Observation& first = finished_.add();
    entry->describe(first);
    first.resent_count = 0;
    first.request_passed_us = 0;
  }
  Observation& observation = finished_.add();
  entry->describe(observation);
  observation.sent_ns = sent_ns;
  observation.answered_ns = segment.time_ns;
  observation.answer_packet = segment.packet;
  observation.answer = facts.answer;
  observation.queued_ticks = entry->queued_ticks;
  if (answers_first) {
    observation.resent_count = 0;
  } else {
    observation.request_packet = entry->last_packet;
    observation.mark = segment.has_timestamps ? segment.timestamp_echo : 0;
  }
}

inline void Tracker::take(const PacketFacts& facts, std::uint64_t hash) {
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

void Tracker::add(std::span<const PacketFacts> packets) {
  if (!worth_fetching()) {
    for (const PacketFacts& facts : packets) {
      take(facts, hash_of(facts));
    }
    finished_.hand_on();
    return;
  }
  std::array<std::uint64_t, batch_size> hashes{};
  while (!packets.empty()) {
    const auto batch = packets.first(std::min(packets.size(), batch_size));
    packets = packets.subspan(batch.size());
    for (std::size_t at = 0; at < batch.size(); ++at) {
      hashes[at] = hash_of(batch[at]);
      prefetch_place(batch[at], hashes[at]);
    }
    for (std::size_t at = 0; at < batch.size(); ++at) {
      prefetch_entry(batch[at], hashes[at]);
    }
    for (std::size_t at = 0; at < batch.size(); ++at) {
      take(batch[at], hashes[at]);
    }
  }
  finished_.hand_on();
}

void Tracker::finish() {
  exchanges_.each([&](const Entry& entry) {
    if (!entry.answered) {
      entry.describe(finished_.add());
    }
  });
  finished_.hand_on();
}

}  // namespace stallscope::capture
