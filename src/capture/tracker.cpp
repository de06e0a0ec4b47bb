// SPDX-License-Identifier: Apache-2.0
#include "capture/tracker.h"

#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <new>

#include "base/units.h"

namespace stallscope::capture {

struct alignas(64) Tracker::Entry {
  ExchangeKey key;
  std::uint32_t sequence = 0;
  std::uint32_t timestamp = 0;
  std::int64_t first_ns = 0;
  /// The last time it was sent, counted from the first.
  std::uint32_t resent_after_us = 0;
  std::uint16_t queued_ticks = 0;
  bool answered : 1 = false;
  bool has_timestamp : 1 = false;
  std::uint8_t resent_count = 0;

  [[nodiscard]] std::int64_t last_ns() const { return first_ns + (std::int64_t{resent_after_us} * base::ns_per_us); }
};

struct Tracker::Step {
  ExchangeKey key;
  std::size_t slot = 0;
  std::int64_t time_ns = 0;
  std::uint32_t sequence = 0;
  std::uint32_t timestamp = 0;
  std::uint16_t queued_ticks = 0;
  bool has_timestamp = false;
  evidence::AnswerKind answer = evidence::AnswerKind::none;
};

namespace {

__extension__ using Wide = unsigned __int128;

/// Packets whose entries are fetched from memory at the same time. More than a CPU has outstanding fetches gains nothing.
constexpr std::size_t batch_size = 32;
constexpr std::size_t least_slots = std::size_t{1} << 10U;
/// Slots that a key may be in, from where its hash says on.
constexpr std::size_t neighbourhood = 8;
/// A host takes 200 ms at least to send something again; several interfaces of a host see a packet within less than this.
constexpr std::int64_t duplicate_within_ns = base::ns_per_ms;

std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

/// Seeded, because who sends packets could choose them to fall into one neighbourhood.
std::uint64_t hash(const ExchangeKey& key, std::uint64_t seed) {
  constexpr std::uint64_t odd_1 = 0x9e3779b97f4a7c15;
  constexpr std::uint64_t odd_2 = 0xd6e8feb86659fd93;
  const auto words = std::bit_cast<std::array<std::uint64_t, sizeof(ExchangeKey) / sizeof(std::uint64_t)>>(key);
  std::uint64_t state = fold(words[0] ^ seed, words[2] ^ odd_1 ^ (seed >> 1U));
  if (key.v6) {
    state = fold(state ^ words[1], words[3] ^ odd_2);
  }
  return fold(state ^ words[4], odd_2 ^ seed);
}

/// Not with `==` of each member: five words are compared at once.
bool same(const ExchangeKey& a, const ExchangeKey& b) {
  return std::memcmp(&a, &b, sizeof(ExchangeKey)) == 0;
}

void copy_address(std::array<std::uint8_t, 16>& to, const std::uint8_t* from, bool v6) {
  if (v6) {
    std::memcpy(to.data(), from, 16);
  } else {
    std::memcpy(to.data(), from, 4);
    std::memset(to.data() + 4, 0, 12);
  }
}

}  // namespace

void Tracker::Unmap::operator()(Entry* entries) const {
  ::munmap(entries, size);
}

Tracker::Tracker(std::size_t expected_exchanges, ObservationSink& sink) : sink_(sink), entries_(nullptr, Unmap{0}) {
  // One and a half times what is expected leaves most keys alone in their slot.
  const std::size_t slots = std::bit_ceil(std::clamp(expected_exchanges + (expected_exchanges / 2), least_slots, most_exchanges));
  mask_ = slots - 1;
  const std::size_t size = slots * sizeof(Entry);
  // Zeroed by the kernel, and only what is touched; an entry of zeros is an empty one.
  void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw std::bad_alloc();
  }
  ::madvise(memory, size, MADV_HUGEPAGE);
  entries_ = std::unique_ptr<Entry[], Unmap>(static_cast<Entry*>(memory), Unmap{size});
  if (::getrandom(&seed_, sizeof(seed_), 0) != sizeof(seed_)) {
    seed_ = reinterpret_cast<std::uintptr_t>(memory);
  }
}

Tracker::~Tracker() = default;

std::size_t Tracker::slot_of(const ExchangeKey& key) const {
  return static_cast<std::size_t>(hash(key, seed_)) & mask_;
}

Tracker::Entry* Tracker::find(const ExchangeKey& key, std::size_t slot) {
  for (std::size_t step = 0; step < neighbourhood; ++step) {
    Entry& entry = entries_[(slot + step) & mask_];
    if (same(entry.key, key)) {
      return &entry;
    }
    // Entries give way to others and never become empty again, so that nothing lies behind an empty one.
    if (entry.key.kind == ExchangeKind::none) {
      return nullptr;
    }
  }
  return nullptr;
}

Tracker::Entry& Tracker::make_room(std::size_t slot) {
  Entry* victim = nullptr;
  const auto worth = [](const Entry& entry) { return entry.answered ? entry.first_ns - base::ns_per_s : entry.first_ns; };
  for (std::size_t step = 0; step < neighbourhood; ++step) {
    Entry& entry = entries_[(slot + step) & mask_];
    if (entry.key.kind == ExchangeKind::none) {
      return entry;
    }
    if (victim == nullptr || worth(entry) < worth(*victim)) {
      victim = &entry;
    }
  }
  if (!victim->answered) {
    ++counts_.forgotten_count;
    sink_.take({victim->key, victim->first_ns, Observation::not_answered, victim->sequence, evidence::AnswerKind::none,
                victim->resent_count, 0});
  }
  return *victim;
}

bool Tracker::prepare(const Packet& packet, Decoded& decoded, Step& step) {
  decode(packet.data, packet.link, decoded);
  counts_.other_count += decoded.ip_count == 0 && !decoded.truncated ? 1 : 0;
  counts_.truncated_count += decoded.truncated ? 1 : 0;
  counts_.fragment_count += decoded.fragment ? 1 : 0;
  counts_.tunnelled_count += decoded.ip_count > 1 ? 1 : 0;
  counts_.backwards_count += packet.time_ns < newest_ns_ ? 1 : 0;
  const std::int64_t queued_ns = std::max<std::int64_t>(newest_ns_ - packet.time_ns, 0);
  newest_ns_ = std::max(newest_ns_, packet.time_ns);
  bool reverse = false;
  step.answer = evidence::AnswerKind::none;
  switch (decoded.transport) {
    case Transport::tcp:
      if (decoded.is(tcp_flag::syn, tcp_flag::syn | tcp_flag::ack | tcp_flag::rst)) {
        step.sequence = decoded.tcp_sequence;
      } else if (decoded.is(tcp_flag::syn | tcp_flag::ack, tcp_flag::syn | tcp_flag::ack | tcp_flag::rst)) {
        step.answer = evidence::AnswerKind::syn_ack;
      } else if (decoded.is(tcp_flag::rst | tcp_flag::ack, tcp_flag::rst | tcp_flag::ack)) {
        step.answer = evidence::AnswerKind::reset;
      } else {
        return false;
      }
      reverse = step.answer != evidence::AnswerKind::none;
      // An answer acknowledges the SYN, which counts as one byte (RFC 9293, section 3.4).
      step.sequence = reverse ? decoded.tcp_acknowledgement - 1 : step.sequence;
      step.has_timestamp = decoded.has_timestamps;
      step.timestamp = reverse ? decoded.timestamp_echo : decoded.timestamp_value;
      step.key.kind = ExchangeKind::handshake;
      step.key.near_port = reverse ? decoded.destination_port : decoded.source_port;
      step.key.far_port = reverse ? decoded.source_port : decoded.destination_port;
      break;
    case Transport::icmp_echo_request:
    case Transport::icmp_echo_reply:
      reverse = decoded.transport == Transport::icmp_echo_reply;
      step.answer = reverse ? evidence::AnswerKind::echo_reply : evidence::AnswerKind::none;
      step.sequence = 0;
      step.has_timestamp = false;
      step.key.kind = ExchangeKind::echo;
      step.key.near_port = decoded.echo_id;
      step.key.far_port = decoded.echo_sequence;
      break;
    default:
      return false;
  }
  const IpHeader& ip = decoded.inner();
  copy_address(step.key.near, reverse ? ip.destination : ip.source, ip.v6);
  copy_address(step.key.far, reverse ? ip.source : ip.destination, ip.v6);
  step.key.v6 = ip.v6;
  step.time_ns = packet.time_ns;
  step.queued_ticks = static_cast<std::uint16_t>(
      std::min<std::int64_t>(queued_ns / Observation::ns_per_queued_tick, std::numeric_limits<std::uint16_t>::max()));
  step.slot = slot_of(step.key);
  __builtin_prefetch(&entries_[step.slot], 1);
  return true;
}

void Tracker::request(const Step& step) {
  ++counts_.request_count;
  Entry* entry = find(step.key, step.slot);
  if (entry != nullptr && entry->sequence == step.sequence) {
    const std::int64_t after_ns = step.time_ns - entry->last_ns();
    if (after_ns >= 0 && after_ns < duplicate_within_ns) {
      ++counts_.duplicate_count;
      return;
    }
    // An echo's number comes round again; a SYN is the same one.
    if (step.key.kind == ExchangeKind::handshake && after_ns >= 0) {
      ++counts_.resent_count;
      const std::int64_t since_first_us = (step.time_ns - entry->first_ns) / base::ns_per_us;
      entry->resent_after_us =
          static_cast<std::uint32_t>(std::min<std::int64_t>(since_first_us, std::numeric_limits<std::uint32_t>::max()));
      entry->resent_count = static_cast<std::uint8_t>(std::min(entry->resent_count + 1, 255));
      return;
    }
  }
  if (entry != nullptr && !entry->answered) {
    sink_.take({entry->key, entry->first_ns, Observation::not_answered, entry->sequence, evidence::AnswerKind::none,
                entry->resent_count, 0});
  }
  Entry& place = entry != nullptr ? *entry : make_room(step.slot);
  place.key = step.key;
  place.sequence = step.sequence;
  place.timestamp = step.timestamp;
  place.first_ns = step.time_ns;
  place.resent_after_us = 0;
  place.queued_ticks = step.queued_ticks;
  place.answered = false;
  place.has_timestamp = step.has_timestamp;
  place.resent_count = 0;
}

void Tracker::answer(const Step& step) {
  ++counts_.answer_count;
  Entry* const entry = find(step.key, step.slot);
  if (entry == nullptr || entry->answered || entry->sequence != step.sequence) {
    return;
  }
  const bool answers_first =
      entry->resent_count == 0 || (entry->has_timestamp && step.has_timestamp && entry->timestamp == step.timestamp);
  const std::int64_t sent_ns = answers_first ? entry->first_ns : entry->last_ns();
  if (step.time_ns < sent_ns) {
    ++counts_.impossible_count;
    return;
  }
  entry->answered = true;
  if (!answers_first) {
    // The first was lost, or its answer was; that is not the time of the one that came.
    sink_.take({entry->key, entry->first_ns, Observation::not_answered, entry->sequence, evidence::AnswerKind::none, 0, 0});
  }
  sink_.take({entry->key, sent_ns, step.time_ns, entry->sequence, step.answer,
              answers_first ? std::uint8_t{0} : entry->resent_count, entry->queued_ticks});
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
      if (steps[at].answer == evidence::AnswerKind::none) {
        request(steps[at]);
      } else {
        answer(steps[at]);
      }
    }
  }
}

void Tracker::finish() {
  for (std::size_t slot = 0; slot <= mask_; ++slot) {
    const Entry& entry = entries_[slot];
    if (entry.key.kind != ExchangeKind::none && !entry.answered) {
      sink_.take({entry.key, entry.first_ns, Observation::not_answered, entry.sequence, evidence::AnswerKind::none,
                  entry.resent_count, 0});
    }
  }
}

}  // namespace stallscope::capture
