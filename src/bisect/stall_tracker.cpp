// SPDX-License-Identifier: Apache-2.0
#include "bisect/stall_tracker.h"

#include <algorithm>
#include <array>
#include <utility>

namespace stallscope::bisect {
namespace {

/// So many answers of each rung that answers at all are waited for before anything is called late.
constexpr std::size_t fewest_answers = 20;
constexpr std::size_t most_recent = 1001;
/// A rung that lost so many and answered none is not waited for.
constexpr std::int64_t lost_of_a_silent_rung = 20;
/// From the median absolute deviation to five standard deviations of a normal distribution.
constexpr double five_sigma = 5 * 1.4826;

std::int64_t median(std::vector<std::int64_t> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

StallTracker::StallTracker(std::size_t rung_count, TrackerOptions options)
    : options_(options), counts_(rung_count), recent_ns_(rung_count), next_recent_(rung_count) {}

void StallTracker::add(const Observation& observation) {
  waiting_.push_back(observation);
}

/// Takes round-trip times over into the medians. Whether there are enough of them to call anything late.
bool StallTracker::learn(const std::vector<Observation>& observations, bool all) {
  std::vector<std::int64_t> lost(counts_.size());
  for (const Observation& observation : observations) {
    if (observation.received_ns == Observation::lost) {
      ++lost[observation.rung];
      continue;
    }
    std::vector<std::int64_t>& recent = recent_ns_[observation.rung];
    const std::int64_t rtt_ns = observation.received_ns - observation.sent_ns;
    if (recent.size() < most_recent) {
      recent.push_back(rtt_ns);
    } else {
      std::size_t& next = next_recent_[observation.rung];
      recent[next] = rtt_ns;
      next = (next + 1) % most_recent;
    }
  }
  bool enough = true;
  for (std::size_t rung = 0; rung < counts_.size(); ++rung) {
    const std::vector<std::int64_t>& recent = recent_ns_[rung];
    RungCounts& counts = counts_[rung];
    if (recent.size() < fewest_answers) {
      const bool silent = recent.empty() && counts.lost + lost[rung] >= lost_of_a_silent_rung;
      enough = enough && (silent || all);
    }
    if (recent.empty()) {
      continue;
    }
    counts.usual_ns = median(recent);
    std::vector<std::int64_t> deviations(recent.size());
    std::transform(recent.begin(), recent.end(), deviations.begin(),
                   [&](std::int64_t rtt_ns) { return std::abs(rtt_ns - counts.usual_ns); });
    const double noise_ns = five_sigma * static_cast<double>(median(std::move(deviations)));
    counts.late_after_ns = std::max(options_.late_after_ns, static_cast<std::int64_t>(noise_ns));
  }
  return enough;
}

void StallTracker::count(const Observation& observation) {
  RungCounts& counts = counts_[observation.rung];
  ++counts.sent;
  const std::int64_t own_ns = observation.sent_ns - observation.intended_ns;
  if (own_ns >= options_.late_after_ns / 2) {
    ++counts.own_late;
    const Stretch stretch{observation.intended_ns, observation.sent_ns};
    if (observation.from_elsewhere) {
      absences_.push_back({observation.rung, stretch});
    } else {
      add_own_stall(stretch);
    }
    return;
  }
  if (observation.received_ns == Observation::lost) {
    ++counts.lost;
    return;
  }
  ++counts.answered;
  const std::int64_t rtt_ns = observation.received_ns - observation.sent_ns;
  counts.worst_ns = std::max(counts.worst_ns, rtt_ns);
  const bool late = rtt_ns >= counts.usual_ns + counts.late_after_ns;
  counts.late += late ? 1 : 0;
  settled_.push_back({observation.rung, observation.sent_ns,
                      std::max(observation.sent_ns, observation.received_ns - counts.usual_ns), counts.late_after_ns, late});
}

/// They come in order of sending, hence of their ends.
void StallTracker::add_own_stall(Stretch stretch) {
  if (!own_stalls_.empty() && stretch.start_ns <= own_stalls_.back().end_ns) {
    Stretch& last = own_stalls_.back();
    own_stalled_ns_ -= last.end_ns - last.start_ns;
    last.start_ns = std::min(last.start_ns, stretch.start_ns);
    last.end_ns = std::max(last.end_ns, stretch.end_ns);
    stretch = last;
  } else {
    own_stalls_.push_back(stretch);
    ++own_stall_count_;
  }
  own_stalled_ns_ += stretch.end_ns - stretch.start_ns;
  worst_own_stall_ns_ = std::max(worst_own_stall_ns_, stretch.end_ns - stretch.start_ns);
}

bool StallTracker::overlap(const Stretch& stretch, const Stall& stall) {
  return std::min(stretch.end_ns, stall.end_ns) > std::max(stretch.start_ns, stall.start_ns);
}

bool StallTracker::prober_stood_still(const Stall& stall) const {
  return std::any_of(own_stalls_.begin(), own_stalls_.end(), [&](const Stretch& own) { return overlap(own, stall); });
}

void StallTracker::add_absence(std::size_t rung, std::int64_t start_ns, std::int64_t end_ns) {
  absences_.push_back({rung, {start_ns, end_ns}});
}

void StallTracker::excuse_absent(Stall& stall) const {
  for (const Absence& absence : absences_) {
    if (!stall.hit.test(absence.rung) && overlap(absence.stretch, stall)) {
      stall.exposed.reset(absence.rung);
    }
  }
}

void StallTracker::excuse_grazed(Stall& stall, const Extents& extents) const {
  for (std::size_t rung = 0; rung < counts_.size(); ++rung) {
    // What waits for the same cause is released with it, and its first probe is at most an interval later than the first of all.
    const Stretch& late = extents.at(rung);
    if (stall.hit.test(rung) && late.end_ns - late.start_ns < (stall.length_ns() / 2) - options_.interval_ns) {
      stall.hit.reset(rung);
      stall.exposed.reset(rung);
    }
  }
}

void StallTracker::finish(Stall& stall, std::vector<Stall>& stalls) {
  Extents extents{};
  for (const Settled& probe : settled_) {
    if (probe.sent_ns < stall.start_ns || probe.sent_ns > stall.end_ns) {
      continue;
    }
    if (probe.late) {
      Stretch& extent = extents.at(probe.rung);
      if (!stall.hit.test(probe.rung)) {
        extent.start_ns = probe.sent_ns;
      }
      extent.end_ns = std::max(extent.end_ns, probe.released_ns);
      stall.hit.set(probe.rung);
      stall.exposed.set(probe.rung);
    } else if (probe.sent_ns <= stall.end_ns - probe.late_after_ns) {
      stall.exposed.set(probe.rung);
    }
  }
  excuse_absent(stall);
  excuse_grazed(stall, extents);
  if (prober_stood_still(stall)) {
    ++stalls_set_aside_;
    return;
  }
  for (std::size_t rung = 0; rung < counts_.size(); ++rung) {
    if (stall.hit.test(rung)) {
      const std::int64_t length_ns = extents.at(rung).end_ns - extents.at(rung).start_ns;
      const double length_s = static_cast<double>(length_ns) / static_cast<double>(base::ns_per_s);
      ++counts_[rung].stall_count;
      counts_[rung].stalled_ns += length_ns;
      counts_[rung].stalled_square_sum += length_s * length_s;
    }
  }
  stalls.push_back(stall);
}

std::vector<Stall> StallTracker::settle(std::int64_t horizon_ns, bool all) {
  std::vector<Observation> ready;
  const auto still = std::partition(waiting_.begin(), waiting_.end(),
                                    [&](const Observation& probe) { return !all && probe.sent_ns >= horizon_ns; });
  ready.assign(still, waiting_.end());
  if (ready.empty()) {
    return {};
  }
  if (settled_ns_ == 0) {
    // Nothing is taken over before it is enough, or it would be learnt from twice.
    std::vector<std::vector<std::int64_t>> no_times(counts_.size());
    if (!learn(ready, all)) {
      recent_ns_.swap(no_times);
      return {};
    }
  } else {
    static_cast<void>(learn(ready, all));
  }
  waiting_.erase(still, waiting_.end());
  std::sort(ready.begin(), ready.end(), [](const Observation& a, const Observation& b) { return a.sent_ns < b.sent_ns; });
  first_ns_ = settled_ns_ == 0 ? ready.front().sent_ns : first_ns_;
  settled_ns_ = ready.back().sent_ns;
  for (const Observation& observation : ready) {
    count(observation);
  }

  std::vector<Stall> stalls;
  Stall current;
  bool open = false;
  const auto close = [&] {
    const bool over = all || current.end_ns < horizon_ns;
    if (open && over) {
      finish(current, stalls);
    }
    return over;
  };
  std::int64_t keep_from_ns = horizon_ns;
  for (const Settled& probe : settled_) {
    if (!probe.late) {
      continue;
    }
    if (open && probe.sent_ns <= current.end_ns) {
      current.end_ns = std::max(current.end_ns, probe.released_ns);
      continue;
    }
    if (!close()) {
      break;
    }
    current = {.start_ns = probe.sent_ns, .end_ns = probe.released_ns, .exposed = {}, .hit = {}};
    open = true;
  }
  if (open && !close()) {
    keep_from_ns = current.start_ns;
  }
  std::erase_if(settled_, [&](const Settled& probe) { return all || probe.sent_ns < keep_from_ns; });
  const auto forgotten = [&](const Stretch& stretch) { return stretch.end_ns < keep_from_ns - base::ns_per_s * 60; };
  std::erase_if(own_stalls_, forgotten);
  std::erase_if(absences_, [&](const Absence& absence) { return forgotten(absence.stretch); });
  return stalls;
}

}  // namespace stallscope::bisect
