// SPDX-License-Identifier: Apache-2.0
#include "diagnose/stalls.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "diagnose/accounting.h"
#include "diagnose/arithmetic.h"

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;
using evidence::PacketLeg;
using evidence::ProbeRecord;
using evidence::WaitRecord;

/// A stall in the making.
struct Draft {
  std::optional<std::int32_t> cpu;
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  std::int64_t earliest_start_ns = 0;
  std::int64_t latest_start_ns = 0;
  std::set<std::size_t> waits;
  std::set<std::size_t> probes;
  std::set<std::size_t> requests;
  std::set<std::size_t> replies;
  std::set<std::size_t> delayed_sends;
  std::optional<std::size_t> episode;
  JoinedBy joined_by = JoinedBy::nothing;

  void include(const Draft& other) {
    if (other.start_ns < start_ns) {
      start_ns = other.start_ns;
      earliest_start_ns = other.earliest_start_ns;
      latest_start_ns = other.latest_start_ns;
    }
    end_ns = std::max(end_ns, other.end_ns);
    waits.insert(other.waits.begin(), other.waits.end());
    probes.insert(other.probes.begin(), other.probes.end());
    requests.insert(other.requests.begin(), other.requests.end());
    replies.insert(other.replies.begin(), other.replies.end());
    delayed_sends.insert(other.delayed_sends.begin(), other.delayed_sends.end());
    episode = episode ? episode : other.episode;
    joined_by = std::max(joined_by, other.joined_by);
  }
};

Draft draft_of_wait(const Evidence& evidence, std::size_t wait_index) {
  const WaitRecord& wait = evidence.waits[wait_index];
  Draft draft;
  draft.cpu = wait.cpu;
  draft.start_ns = wait.start_ns;
  draft.end_ns = wait.end_ns;
  const bool bounds_usable = wait.earliest_start_ns <= wait.start_ns && wait.earliest_start_ns > 0 &&
                             wait.latest_start_ns >= wait.start_ns && wait.latest_start_ns <= wait.end_ns;
  draft.earliest_start_ns = bounds_usable ? wait.earliest_start_ns : wait.start_ns;
  draft.latest_start_ns = bounds_usable ? wait.latest_start_ns : wait.start_ns;
  draft.waits.insert(wait_index);
  return draft;
}

/// Disjoint groups of waits, by index.
class WaitGroups {
 public:
  explicit WaitGroups(std::size_t count) : parent_(count) { std::iota(parent_.begin(), parent_.end(), std::size_t{0}); }
  std::size_t find(std::size_t wait) {
    while (parent_[wait] != wait) {
      parent_[wait] = parent_[parent_[wait]];
      wait = parent_[wait];
    }
    return wait;
  }
  void unite(std::size_t a, std::size_t b) { parent_[find(a)] = find(b); }

 private:
  std::vector<std::size_t> parent_;
};

class StallBuilder {
 public:
  StallBuilder(const Evidence& evidence, const ProbeAnalysis& probes, const Joins& joins, const WaitIndex& waits)
      : evidence_(evidence), probes_(probes), joins_(joins), waits_(waits) {
    for (std::size_t episode = 0; episode < probes.episodes.size(); ++episode) {
      for (const std::size_t probe : probes.episodes[episode].held.probes) {
        episode_of_[probe] = episode;
      }
    }
  }

  StallSet build() {
    add_waits_that_held_probes();
    add_waits_that_delayed_sends();
    add_waits_that_held_other_packets();
    add_unexplained_probes();
    merge_drafts();
    absorb_waits();
    return finish();
  }

 private:
  void add_waits_that_held_probes() {
    WaitGroups groups(evidence_.waits.size());
    for (auto first = joins_.holds.begin(); first != joins_.holds.end();) {
      const auto last = std::find_if(first, joins_.holds.end(), [&](const Hold& hold) { return hold.probe != first->probe; });
      unite_waits_of_probe({first, last}, groups);
      first = last;
    }
    std::map<std::size_t, std::size_t> draft_of_group;
    for (const Hold& hold : joins_.holds) {
      if (!hold.wait) {
        continue;
      }
      Draft draft = draft_of_wait(evidence_, *hold.wait);
      draft.probes.insert(hold.probe);
      draft.episode = episode_of_.at(hold.probe);
      draft.joined_by = hold.joined_by;
      if (hold.leg) {
        (*hold.leg == PacketLeg::request ? draft.requests : draft.replies).insert(hold.probe);
      }
      extend_to_hold(hold, draft);
      joined_probes_.insert(hold.probe);
      held_waits_.insert(*hold.wait);
      const auto [entry, is_new] = draft_of_group.emplace(groups.find(*hold.wait), drafts_.size());
      if (is_new) {
        drafts_.push_back(std::move(draft));
      } else {
        drafts_[entry->second].include(draft);
      }
    }
  }

  /// Waits through which one packet waited are one stall; so are those that touch and held the same probe.
  void unite_waits_of_probe(std::vector<Hold> holds, WaitGroups& groups) {
    std::erase_if(holds, [](const Hold& hold) { return !hold.wait; });
    std::sort(holds.begin(), holds.end(), [&](const Hold& a, const Hold& b) {
      return std::tie(a.cpu, evidence_.waits[*a.wait].start_ns) < std::tie(b.cpu, evidence_.waits[*b.wait].start_ns);
    });
    for (std::size_t i = 1; i < holds.size(); ++i) {
      const Hold& before = holds[i - 1];
      const Hold& after = holds[i];
      const bool same_packet = before.packet && before.packet == after.packet;
      const bool touch = evidence_.waits[*after.wait].start_ns - evidence_.waits[*before.wait].end_ns < touching_ns;
      if (before.cpu == after.cpu && (same_packet || touch)) {
        groups.unite(*before.wait, *after.wait);
      }
    }
  }

  /// The stall lasts until the last held packet was delivered, and began when the first had to queue.
  void extend_to_hold(const Hold& hold, Draft& draft) const {
    const std::int64_t one_way_ns = probes_.summary.baseline_rtt_ns / 2;
    const std::int64_t queued_ns = hold.joined_by == JoinedBy::time ? hold.from_ns + one_way_ns : hold.from_ns;
    const std::int64_t delivered_ns = hold.joined_by == JoinedBy::time ? hold.to_ns - one_way_ns : hold.to_ns;
    if (queued_ns < draft.start_ns - least_hold_ns) {
      draft.earliest_start_ns = std::min(draft.earliest_start_ns, queued_ns);
      draft.start_ns = queued_ns;
      draft.latest_start_ns = queued_ns;
    }
    draft.end_ns = std::max(draft.end_ns, delivered_ns);
  }

  void add_waits_that_delayed_sends() {
    for (std::size_t index = 0; index < evidence_.probes.size(); ++index) {
      if (probes_.fates[index] != ProbeFate::own_late) {
        continue;
      }
      const ProbeRecord& probe = evidence_.probes[index];
      for (const std::size_t wait_index : waits_.overlapping(probe.sender_cpu, probe.intended_ns, probe.sent_ns)) {
        const WaitRecord& wait = evidence_.waits[wait_index];
        const std::int64_t covered_ns = overlap_ns(wait.start_ns, wait.end_ns, probe.intended_ns, probe.sent_ns);
        if (covered_ns >= probe.own_lateness_ns() / least_covered_divisor && covered_ns >= least_hold_ns) {
          delayed_by_wait_[wait_index].insert(index);
        }
      }
    }
    for (const auto& [wait_index, delayed] : delayed_by_wait_) {
      Draft draft = draft_of_wait(evidence_, wait_index);
      draft.delayed_sends = delayed;
      held_waits_.insert(wait_index);
      drafts_.push_back(std::move(draft));
    }
  }

  void add_waits_that_held_other_packets() {
    for (const std::size_t wait_index : waits_.all()) {
      const WaitRecord& wait = evidence_.waits[wait_index];
      // Without a probe, a wait whose packets could not be counted is all there is to go by.
      const bool packets_counted = wait.packets_released > 0;
      // A queue that does not become empty holds a packet only for as long as it takes to process those before it. With probes they
      // tell whether that was long.
      const bool packets_waited = evidence_.probes.empty() ? packets_counted || wait.packets_released < 0
                                                           : packets_counted && wait.mode != evidence::WaitMode::napi_budget;
      if (!held_waits_.contains(wait_index) && packets_waited && wait.length_ns() >= unprobed_report_ns) {
        drafts_.push_back(draft_of_wait(evidence_, wait_index));
      }
    }
  }

  void add_unexplained_probes() {
    std::map<std::size_t, std::size_t> draft_of_episode;
    for (std::size_t index = 0; index < drafts_.size(); ++index) {
      if (drafts_[index].episode) {
        draft_of_episode.emplace(*drafts_[index].episode, index);
      }
    }
    std::map<std::size_t, const Hold*> queue_of_probe;
    for (const Hold& hold : joins_.holds) {
      if (!hold.wait) {
        queue_of_probe.emplace(hold.probe, &hold);
      }
    }
    for (std::size_t episode_index = 0; episode_index < probes_.episodes.size(); ++episode_index) {
      Draft rest;
      for (const std::size_t probe_index : probes_.episodes[episode_index].held.probes) {
        if (joined_probes_.contains(probe_index)) {
          continue;
        }
        const auto queue = queue_of_probe.find(probe_index);
        const auto known = draft_of_episode.find(episode_index);
        if (queue == queue_of_probe.end() && known != draft_of_episode.end() && shares_time(probe_index, drafts_[known->second])) {
          drafts_[known->second].probes.insert(probe_index);
          continue;
        }
        if (queue != queue_of_probe.end() && !rest.cpu) {
          rest.cpu = queue->second->cpu;
          rest.joined_by = JoinedBy::sequence;
        }
        rest.probes.insert(probe_index);
      }
      if (!rest.probes.empty()) {
        rest.episode = episode_index;
        set_interval_of_probes(rest);
        drafts_.push_back(std::move(rest));
      }
    }
  }

  /// Whether most of the probe's way was within the stall: it left the queue with the others, though its packet was not seen.
  [[nodiscard]] bool shares_time(std::size_t probe_index, const Draft& draft) const {
    const ProbeRecord& probe = evidence_.probes[probe_index];
    return overlap_ns(probe.sent_ns, probe.received_ns, draft.start_ns, draft.end_ns) >= probe.rtt_ns() / least_covered_divisor;
  }

  void set_interval_of_probes(Draft& draft) const {
    const Episode& episode = probes_.episodes[*draft.episode];
    const std::int64_t one_way_ns = probes_.summary.baseline_rtt_ns / 2;
    // Probes that were released one by one were not held up by one stall: only the longest delay is a fact.
    const auto slowest = std::max_element(draft.probes.begin(), draft.probes.end(), [&](std::size_t a, std::size_t b) {
      return evidence_.probes[a].rtt_ns() < evidence_.probes[b].rtt_ns();
    });
    draft.start_ns = evidence_.probes[*slowest].sent_ns;
    draft.end_ns = evidence_.probes[*slowest].received_ns;
    if (episode.held.release != Release::apart) {
      for (const std::size_t index : draft.probes) {
        draft.start_ns = std::min(draft.start_ns, evidence_.probes[index].sent_ns);
        draft.end_ns = std::max(draft.end_ns, evidence_.probes[index].received_ns);
      }
    }
    draft.start_ns += one_way_ns;
    draft.end_ns = std::max(draft.end_ns - one_way_ns, draft.start_ns + 1);
    draft.latest_start_ns = draft.start_ns;
    draft.earliest_start_ns = std::min(episode.earliest_start_ns + one_way_ns, draft.start_ns);
  }

  /// One CPU has one stall at a time.
  void merge_drafts() {
    std::stable_sort(drafts_.begin(), drafts_.end(),
                     [](const Draft& a, const Draft& b) { return std::tie(a.cpu, a.start_ns) < std::tie(b.cpu, b.start_ns); });
    std::vector<Draft> merged;
    for (Draft& draft : drafts_) {
      const bool one_stall = !merged.empty() && merged.back().cpu && merged.back().cpu == draft.cpu &&
                             (draft.start_ns < merged.back().end_ns || same_packets_without_probe(merged.back(), draft));
      if (one_stall) {
        merged.back().include(draft);
      } else {
        merged.push_back(std::move(draft));
      }
    }
    drafts_ = std::move(merged);
  }

  /// Nothing was delivered in the moment between the two, as far as is known: the same packets waited on.
  [[nodiscard]] bool same_packets_without_probe(const Draft& before, const Draft& after) const {
    if (!before.probes.empty() || !after.probes.empty() || after.start_ns - before.end_ns >= touching_ns) {
      return false;
    }
    return std::all_of(before.waits.begin(), before.waits.end(),
                       [&](std::size_t wait) { return evidence_.waits[wait].packets_released <= 0; });
  }

  /// Whatever else kept the CPU from receiving during a stall is part of its account.
  void absorb_waits() {
    for (Draft& draft : drafts_) {
      if (draft.cpu) {
        const std::vector<std::size_t> found = waits_.overlapping(*draft.cpu, draft.start_ns, draft.end_ns);
        draft.waits.insert(found.begin(), found.end());
      }
    }
  }

  StallSet finish() {
    StallSet set;
    std::set<std::size_t> used;
    for (const Draft& draft : drafts_) {
      set.stalls.push_back(to_stall(draft));
      used.insert(draft.waits.begin(), draft.waits.end());
    }
    std::stable_sort(set.stalls.begin(), set.stalls.end(), [](const Stall& a, const Stall& b) { return a.start_ns < b.start_ns; });
    for (const std::size_t wait_index : waits_.all()) {
      if (!used.contains(wait_index)) {
        ++set.other_waits.count;
        set.other_waits.longest_ns = std::max(set.other_waits.longest_ns, evidence_.waits[wait_index].length_ns());
      }
    }
    count_lost(set.stalls);
    return set;
  }

  Stall to_stall(const Draft& draft) const {
    Stall stall;
    stall.cpu = draft.cpu;
    stall.start_ns = draft.start_ns;
    stall.end_ns = draft.end_ns;
    stall.earliest_start_ns = draft.earliest_start_ns;
    stall.latest_start_ns = draft.latest_start_ns;
    stall.waits.assign(draft.waits.begin(), draft.waits.end());
    std::sort(stall.waits.begin(), stall.waits.end(), [&](std::size_t a, std::size_t b) {
      return std::tie(evidence_.waits[a].start_ns, a) < std::tie(evidence_.waits[b].start_ns, b);
    });
    stall.shares = account(evidence_, stall.start_ns, stall.end_ns, stall.waits);
    const auto with_mode =
        std::find_if(stall.shares.begin(), stall.shares.end(), [](const Share& share) { return share.mode.has_value(); });
    if (with_mode != stall.shares.end()) {
      stall.mode = with_mode->mode;
    }
    stall.held = describe_held(evidence_, {draft.probes.begin(), draft.probes.end()});
    stall.episode = draft.episode;
    stall.joined_by = draft.joined_by;
    stall.request_count = static_cast<std::int64_t>(draft.requests.size());
    stall.reply_count = static_cast<std::int64_t>(draft.replies.size());
    stall.prober_delayed_count = static_cast<std::int64_t>(draft.delayed_sends.size());
    stall.packets_released = packets_released(stall.waits);
    return stall;
  }

  [[nodiscard]] std::optional<std::int64_t> packets_released(const std::vector<std::size_t>& waits) const {
    // The largest, not the sum: overlapping waits see the same packets delivered.
    std::optional<std::int64_t> released;
    for (const std::size_t wait : waits) {
      const std::int64_t count = evidence_.waits[wait].packets_released;
      if (count >= 0) {
        released = std::max(released.value_or(0), count);
      }
    }
    return released;
  }

  void count_lost(std::vector<Stall>& stalls) const {
    std::vector<std::int64_t> lost_sends_ns;
    for (std::size_t index = 0; index < evidence_.probes.size(); ++index) {
      if (probes_.fates[index] == ProbeFate::lost) {
        lost_sends_ns.push_back(evidence_.probes[index].sent_ns);
      }
    }
    std::sort(lost_sends_ns.begin(), lost_sends_ns.end());
    for (Stall& stall : stalls) {
      stall.lost_probe_count = std::lower_bound(lost_sends_ns.begin(), lost_sends_ns.end(), stall.end_ns) -
                               std::lower_bound(lost_sends_ns.begin(), lost_sends_ns.end(), stall.start_ns);
    }
  }

  const Evidence& evidence_;
  const ProbeAnalysis& probes_;
  const Joins& joins_;
  const WaitIndex& waits_;
  std::map<std::size_t, std::size_t> episode_of_;
  std::set<std::size_t> joined_probes_;
  std::set<std::size_t> held_waits_;
  std::map<std::size_t, std::set<std::size_t>> delayed_by_wait_;
  std::vector<Draft> drafts_;
};

}  // namespace

StallSet build_stalls(const Evidence& evidence, const ProbeAnalysis& probes, const Joins& joins, const WaitIndex& waits) {
  return StallBuilder(evidence, probes, joins, waits).build();
}

}  // namespace stallscope::diagnose
