// SPDX-License-Identifier: Apache-2.0
#include "capture/legs.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <tuple>

#include "base/units.h"

namespace stallscope::capture {
namespace {

/// How long a request without an answer may be under way: a SYN is sent again after a second (RFC 6298, section 2.1).
constexpr std::int64_t unanswered_leg_ns = base::ns_per_s;
/// A path within a host translates once or twice and has few routers; more alike at a time is something else.
constexpr std::size_t most_legs = 8;

struct Candidate {
  LegMark mark;
  std::int64_t sent_ns = 0;
  std::uint32_t exchange = 0;
  std::uint8_t hops_left = 0;

  /// Legs of an exchange one after the other, in the order in which a packet passes them.
  [[nodiscard]] auto order() const { return std::tuple(mark, sent_ns, -int{hops_left}, exchange); }
};

std::vector<Candidate> candidates_of(const std::vector<Observation>& exchanges) {
  std::vector<Candidate> candidates;
  for (std::size_t at = 0; at < exchanges.size(); ++at) {
    if (const std::optional<LegMark> mark = leg_mark(exchanges[at])) {
      candidates.push_back({*mark, exchanges[at].sent_ns, static_cast<std::uint32_t>(at), exchanges[at].hops_left});
    }
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) { return a.order() < b.order(); });
  return candidates;
}

/// Any time that a file can have is safe.
std::int64_t over_ns(const Observation& leg) {
  constexpr std::int64_t latest_ns = std::numeric_limits<std::int64_t>::max() - unanswered_leg_ns;
  return leg.answered() ? leg.answered_ns : std::min(leg.sent_ns, latest_ns) + unanswered_leg_ns;
}

bool leads_to(const Observation& leg, const Observation& next) {
  if (same(leg.key, next.key) || next.hops_left >= leg.hops_left) {
    return false;
  }
  return !leg.answered() || (next.answered() && next.answered_ns <= leg.answered_ns);
}

std::uint32_t passed_us(std::int64_t from_ns, std::int64_t to_ns) {
  constexpr std::int64_t most_us = std::numeric_limits<std::uint32_t>::max();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>((to_ns - from_ns) / base::ns_per_us, 0, most_us));
}

/// Joins legs that overlap in time and have one mark.
class Joiner {
 public:
  explicit Joiner(std::vector<Observation>& exchanges) : exchanges_(exchanges), inner_(exchanges.size(), false) {}

  void take(std::span<const Candidate> legs) {
    if (legs.size() < 2) {
      return;
    }
    bool chain = legs.size() <= most_legs;
    for (std::size_t at = 1; chain && at < legs.size(); ++at) {
      chain = leads_to(leg(legs[at - 1]), leg(legs[at]));
    }
    if (!chain) {
      counts_.ambiguous_count += static_cast<std::int64_t>(legs.size());
      return;
    }
    Observation& first = leg(legs.front());
    const Observation& last = leg(legs.back());
    first.request_passed_us =
        std::max(first.request_passed_us, passed_us(first.sent_ns, last.sent_ns + (last.request_passed_us * base::ns_per_us)));
    first.answer_passed_us = first.answered() ? passed_us(last.answered_ns, first.answered_ns) : 0;
    first.leg_count = static_cast<std::uint8_t>(legs.size());
    for (const Candidate& other : legs.subspan(1)) {
      inner_[other.exchange] = true;
    }
    counts_.joined_count += static_cast<std::int64_t>(legs.size()) - 1;
  }

  LegCounts finish() {
    if (counts_.joined_count > 0) {
      std::size_t kept = 0;
      for (std::size_t at = 0; at < exchanges_.size(); ++at) {
        if (!inner_[at]) {
          exchanges_[kept++] = exchanges_[at];
        }
      }
      exchanges_.resize(kept);
    }
    return counts_;
  }

 private:
  [[nodiscard]] Observation& leg(const Candidate& candidate) { return exchanges_[candidate.exchange]; }

  std::vector<Observation>& exchanges_;
  std::vector<bool> inner_;
  LegCounts counts_;
};

}  // namespace

std::optional<LegMark> leg_mark(const Observation& observation) {
  if (observation.mark == 0 || observation.key.kind == ExchangeKind::response) {
    return std::nullopt;
  }
  constexpr unsigned number_bits = 32;
  constexpr unsigned port_bits = 16;
  const bool echo = observation.key.kind == ExchangeKind::echo;
  LegMark mark;
  mark.numbers = (std::uint64_t{observation.sequence} << number_bits) | observation.mark;
  // NAT changes the identifier of an echo as it does a port; its sequence number stays.
  mark.kind = (static_cast<std::uint64_t>(observation.key.kind) << number_bits) |
              (std::uint64_t{observation.key.v6 ? 1U : 0U} << port_bits) | (echo ? observation.key.far_port : 0U);
  return mark;
}

LegCounts join_legs(std::vector<Observation>& exchanges) {
  const std::vector<Candidate> candidates = candidates_of(exchanges);
  Joiner joiner(exchanges);
  for (std::size_t first = 0; first < candidates.size();) {
    std::int64_t until_ns = over_ns(exchanges[candidates[first].exchange]);
    std::size_t end = first + 1;
    while (end < candidates.size() && candidates[end].mark == candidates[first].mark && candidates[end].sent_ns <= until_ns) {
      until_ns = std::max(until_ns, over_ns(exchanges[candidates[end].exchange]));
      ++end;
    }
    joiner.take(std::span(candidates).subspan(first, end - first));
    first = end;
  }
  return joiner.finish();
}

}  // namespace stallscope::capture
