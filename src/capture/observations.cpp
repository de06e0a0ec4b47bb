// SPDX-License-Identifier: Apache-2.0
#include "capture/observations.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "base/units.h"
#include "capture/bytes.h"
#include "capture/legs.h"
#include "shape/lateness.h"

namespace stallscope::capture {
namespace {

/// Enough for a median that is right to a few parts in a thousand.
constexpr std::size_t most_sampled = 16'384;
constexpr std::size_t host_places = 4'096;

/// What is still too much for a sample of one in so many was made to be drawn alike.
constexpr std::uint64_t rarest_sample = std::uint64_t{1} << 32U;

/// A number by which an exchange is drawn for the sample, the same for all of its legs, so that none is there without the others.
/// Always the same, too, so that a capture has one result.
std::uint64_t draw(const Observation& observation) {
  constexpr std::uint64_t odd_1 = 0x9e3779b97f4a7c15;
  constexpr std::uint64_t odd_2 = 0xd6e8feb86659fd93;
  const std::optional<LegMark> mark = leg_mark(observation);
  std::uint64_t value = mark ? mark->numbers : static_cast<std::uint64_t>(observation.sent_ns);
  value = (value ^ (mark ? mark->kind : observation.key.near_port)) * odd_1;
  value = (value ^ (value >> 32U)) * odd_2;
  return value >> 32U;
}

struct Stretch {
  std::int64_t from_ns = 0;
  std::int64_t to_ns = 0;
};

std::size_t host_place(const ExchangeKey& key) {
  std::uint64_t value = load<std::uint64_t>(key.far.data()) ^ (load<std::uint64_t>(key.far.data() + 8) << 1U);
  value ^= static_cast<std::uint64_t>(key.kind) << 40U;
  return static_cast<std::size_t>((value * 0x9e3779b97f4a7c15U) >> 52U) % host_places;
}

/// While a late one was under way, and as long before: the silence before a release is part of what is judged.
void add_stretches(std::span<const Observation> block, std::span<const std::size_t> notable, std::vector<Stretch>& stretches) {
  for (const std::size_t at : notable) {
    const Observation& observation = block[at];
    if (observation.answered()) {
      stretches.push_back({observation.sent_ns - observation.rtt_ns(), observation.answered_ns});
    }
  }
}

std::vector<Stretch> joined(std::vector<Stretch> stretches) {
  std::sort(stretches.begin(), stretches.end(), [](const Stretch& a, const Stretch& b) { return a.from_ns < b.from_ns; });
  std::vector<Stretch> apart;
  for (const Stretch& stretch : stretches) {
    if (!apart.empty() && stretch.from_ns <= apart.back().to_ns) {
      apart.back().to_ns = std::max(apart.back().to_ns, stretch.to_ns);
    } else {
      apart.push_back(stretch);
    }
  }
  return apart;
}

bool within(const std::vector<Stretch>& stretches, std::int64_t time_ns) {
  const auto after = std::upper_bound(stretches.begin(), stretches.end(), time_ns,
                                      [](std::int64_t time, const Stretch& stretch) { return time < stretch.from_ns; });
  return after != stretches.begin() && time_ns <= (after - 1)->to_ns;
}

}  // namespace

ObservationStore::ObservationStore() : least_rtt_ns_(host_places, std::numeric_limits<std::int64_t>::max()) {
  // Costs memory only as it is filled, where growing would write everything twice.
  all_.reserve(short_capture);
}

bool ObservationStore::is_notable(const Observation& observation) {
  if (!observation.answered()) {
    return true;
  }
  std::int64_t& least_ns = least_rtt_ns_[host_place(observation.key)];
  least_ns = std::min(least_ns, observation.rtt_ns());
  return observation.rtt_ns() > least_ns + shape::late_floor_ns;
}

void ObservationStore::take(std::span<const Observation> observations) {
  if (short_ && all_.size() + observations.size() <= short_capture) {
    all_.insert(all_.end(), observations.begin(), observations.end());
    return;
  }
  if (short_) {
    short_ = false;
    take_in_blocks(all_);
    std::vector<Observation>().swap(all_);
  }
  take_in_blocks(observations);
}

void ObservationStore::take_in_blocks(std::span<const Observation> observations) {
  while (!observations.empty()) {
    if (recent_.exchanges.size() == block_size) {
      rotate();
    }
    const std::size_t before = recent_.exchanges.size();
    const auto part = observations.first(std::min(observations.size(), block_size - before));
    observations = observations.subspan(part.size());
    recent_.exchanges.insert(recent_.exchanges.end(), part.begin(), part.end());
    for (std::size_t at = 0; at < part.size(); ++at) {
      if (is_notable(part[at])) {
        recent_.notable.push_back(before + at);
      }
    }
  }
}

void ObservationStore::keep(const Observation& observation) {
  if (kept_.size() < most_kept) {
    kept_.push_back(observation);
  } else {
    ++left_out_count_;
  }
}

void ObservationStore::rotate() {
  const std::vector<Observation>& previous = previous_.exchanges;
  if (!previous.empty()) {
    std::vector<Stretch> stretches;
    add_stretches(previous, previous_.notable, stretches);
    add_stretches(recent_.exchanges, recent_.notable, stretches);
    stretches = joined(std::move(stretches));
    if (!stretches.empty() && stretches.front().from_ns < previous.front().sent_ns) {
      std::erase_if(history_, [&](const Observation& observation) {
        const bool in_stall = within(stretches, observation.sent_ns);
        if (in_stall) {
          keep(observation);
        }
        return in_stall;
      });
    }
    auto notable = previous_.notable.begin();
    for (std::size_t at = 0; at < previous.size(); ++at) {
      const Observation& observation = previous[at];
      const bool is_notable = notable != previous_.notable.end() && *notable == at;
      notable += is_notable ? 1 : 0;
      if (is_notable || (!stretches.empty() && within(stretches, observation.sent_ns))) {
        keep(observation);
      } else if (draw(observation) % history_every == 0) {
        history_.push_back(observation);
      } else {
        ++thinned_count_;
      }
    }
    if (history_.size() > 2 * least_history) {
      pass_on_history(least_history);
    }
  }
  std::swap(previous_, recent_);
  recent_.exchanges.clear();
  recent_.notable.clear();
}

void ObservationStore::pass_on_history(std::size_t left) {
  const auto end = history_.end() - static_cast<std::ptrdiff_t>(std::min(left, history_.size()));
  for (auto observation = history_.begin(); observation != end; ++observation) {
    if (draw(*observation) % sample_every_ == 0) {
      sample_.push_back(*observation);
    } else {
      ++thinned_count_;
    }
  }
  history_.erase(history_.begin(), end);
  bound_sample();
}

void ObservationStore::bound_sample() {
  while (sample_.size() > most_sampled && sample_every_ < rarest_sample) {
    sample_every_ *= 2;
    thinned_count_ += static_cast<std::int64_t>(
        std::erase_if(sample_, [&](const Observation& observation) { return draw(observation) % sample_every_ != 0; }));
  }
  if (sample_.size() > most_sampled) {
    thinned_count_ += static_cast<std::int64_t>(sample_.size() - most_sampled);
    sample_.resize(most_sampled);
  }
}

std::vector<Observation> ObservationStore::finish() {
  // What stands in the last two blocks is treated as what came before.
  rotate();
  rotate();
  pass_on_history(0);
  std::vector<Observation> all = short_ ? std::move(all_) : std::move(kept_);
  all.insert(all.end(), sample_.begin(), sample_.end());
  std::vector<Observation>().swap(sample_);
  std::stable_sort(all.begin(), all.end(), [](const Observation& a, const Observation& b) { return a.sent_ns < b.sent_ns; });
  return all;
}

}  // namespace stallscope::capture
