// SPDX-License-Identifier: Apache-2.0
#include "capture/two_places.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "capture/legs.h"

namespace stallscope::capture {
namespace {

/// For each near observation, its place among the far ones.
using Pairs = std::vector<std::size_t>;
constexpr std::size_t no_pair = std::numeric_limits<std::size_t>::max();

/// In an order in which one exchange's observations are next to each other.
bool before(const Observation& a, const Observation& b) {
  const int keys = std::memcmp(&a.key, &b.key, sizeof(ExchangeKey));
  return keys != 0 ? keys < 0 : a.sequence < b.sequence;
}

/// `far` is in order.
Pairs pair_by_key(const std::vector<Observation>& near, const std::vector<Observation>& far) {
  Pairs pairs(near.size(), no_pair);
  for (std::size_t at = 0; at < near.size(); ++at) {
    const Observation& here = near[at];
    const auto [first, last] = std::equal_range(far.begin(), far.end(), here, before);
    if (!here.answered() || first == last) {
      continue;
    }
    // Numbers of echoes come round after 65,536; wall clocks are right to less than that takes.
    const auto there = std::min_element(first, last, [&](const Observation& a, const Observation& b) {
      return std::llabs(a.sent_ns - here.sent_ns) < std::llabs(b.sent_ns - here.sent_ns);
    });
    pairs[at] = static_cast<std::size_t>(there - far.begin());
  }
  return pairs;
}

struct Unpaired {
  LegMark mark;
  std::size_t place = 0;
  bool near = false;
};

/// Of what has no pair, what has the same mark and is the only one with it.
void pair_by_mark(const std::vector<Observation>& near, const std::vector<Observation>& far, Pairs& pairs, TwoPlaces& places) {
  std::vector<Unpaired> unpaired;
  std::vector<bool> far_paired(far.size(), false);
  for (std::size_t at = 0; at < near.size(); ++at) {
    if (pairs[at] != no_pair) {
      far_paired[pairs[at]] = true;
    } else if (const auto mark = leg_mark(near[at]); mark && near[at].answered()) {
      unpaired.push_back({*mark, at, true});
    }
  }
  for (std::size_t at = 0; at < far.size(); ++at) {
    if (const auto mark = leg_mark(far[at]); mark && !far_paired[at]) {
      unpaired.push_back({*mark, at, false});
    }
  }
  std::sort(unpaired.begin(), unpaired.end(), [](const Unpaired& a, const Unpaired& b) { return a.mark < b.mark; });
  for (auto first = unpaired.begin(); first != unpaired.end();) {
    const auto last = std::find_if(first, unpaired.end(), [&](const Unpaired& other) { return other.mark != first->mark; });
    const auto near_count = std::count_if(first, last, [](const Unpaired& one) { return one.near; });
    const auto far_count = (last - first) - near_count;
    if (near_count == 1 && far_count == 1) {
      const Unpaired& here = first->near ? *first : first[1];
      const Unpaired& there = first->near ? first[1] : *first;
      pairs[here.place] = there.place;
    } else if (near_count > 0 && far_count > 0) {
      places.ambiguous_count += near_count;
    }
    first = last;
  }
}

}  // namespace

std::optional<TwoPlaces> match(const std::vector<Observation>& near, std::vector<Observation> far) {
  std::erase_if(far, [](const Observation& observation) { return !observation.answered(); });
  std::sort(far.begin(), far.end(), before);
  TwoPlaces places;
  places.far.resize(near.size());
  Pairs pairs = pair_by_key(near, far);
  pair_by_mark(near, far, pairs, places);
  std::vector<base::ClockBound> bounds;
  for (std::size_t at = 0; at < near.size(); ++at) {
    if (pairs[at] == no_pair) {
      continue;
    }
    const Observation& here = near[at];
    const Observation& there = far[pairs[at]];
    // Of data that the far host sent, the near capture is the inner one; its times bound the clocks the other way round.
    if (here.key.kind == ExchangeKind::data && there.rtt_ns() > here.rtt_ns()) {
      continue;
    }
    places.far[at] = there;
    ++places.matched_count;
    places.translated_count += same(here.key, there.key) ? 0 : 1;
    bounds.push_back({here.sent_ns, there.answered_ns - here.answered_ns, there.sent_ns - here.sent_ns});
  }
  const std::optional<base::ClockFit> clock = base::fit_clocks(bounds);
  if (!clock) {
    return std::nullopt;
  }
  places.clock = *clock;
  for (std::optional<Observation>& there : places.far) {
    if (there) {
      there->sent_ns = places.clock.to_near(there->sent_ns);
      there->answered_ns = places.clock.to_near(there->answered_ns);
    }
  }
  return places;
}

}  // namespace stallscope::capture
