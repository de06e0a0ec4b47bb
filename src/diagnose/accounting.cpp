// SPDX-License-Identifier: Apache-2.0
#include "diagnose/accounting.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;
using evidence::Occupant;
using evidence::WaitMode;
using evidence::WaitRecord;

/// The hypervisor's part of a wait is told from this on, and from one part in stolen_divisor: the kernel counts stolen time in
/// steps of a tick, so that some of it belongs to the moments around the wait.
constexpr std::int64_t stolen_floor_ns = 200 * base::ns_per_us;
constexpr std::int64_t stolen_divisor = 50;
/// What the occupants leave of a wait is rounding or the edge of a sample up to this; more is time in which nobody was seen.
constexpr std::int64_t unseen_floor_ns = 100 * base::ns_per_us;

struct Division {
  std::map<std::size_t, std::int64_t> by_wait;
  std::int64_t after_waits_ns = 0;
  std::int64_t elsewhere_ns = 0;
};

/// Who gets the time where several waits overlap: smaller goes first.
auto precedence(const Evidence& evidence, std::size_t index) {
  const WaitRecord& wait = evidence.waits[index];
  return std::make_tuple(wait.mode, wait.occupants.empty(), -wait.length_ns(), index);
}

Division divide(const Evidence& evidence, std::int64_t start_ns, std::int64_t end_ns, std::span<const std::size_t> waits) {
  struct Edge {
    std::int64_t time_ns;
    bool begins;
    std::size_t wait;
  };
  std::vector<Edge> edges;
  std::int64_t last_end_ns = start_ns;
  for (const std::size_t index : waits) {
    const std::int64_t from_ns = std::max(evidence.waits[index].start_ns, start_ns);
    const std::int64_t to_ns = std::min(evidence.waits[index].end_ns, end_ns);
    if (from_ns < to_ns) {
      edges.push_back({from_ns, true, index});
      edges.push_back({to_ns, false, index});
      last_end_ns = std::max(last_end_ns, to_ns);
    }
  }
  std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.time_ns < b.time_ns; });

  Division division;
  std::set<decltype(precedence(evidence, 0))> active;
  std::int64_t position_ns = start_ns;
  const auto assign_up_to = [&](std::int64_t time_ns) {
    const std::int64_t length_ns = time_ns - position_ns;
    if (!active.empty()) {
      division.by_wait[std::get<std::size_t>(*active.begin())] += length_ns;
    } else if (!edges.empty() && position_ns >= last_end_ns) {
      division.after_waits_ns += length_ns;
    } else {
      division.elsewhere_ns += length_ns;
    }
    position_ns = time_ns;
  };
  for (const Edge& edge : edges) {
    assign_up_to(edge.time_ns);
    if (edge.begins) {
      active.insert(precedence(evidence, edge.wait));
    } else {
      active.erase(precedence(evidence, edge.wait));
    }
  }
  assign_up_to(end_ns);
  return division;
}

/// `part` of `whole`, applied to `amount`.
std::int64_t proportion(std::int64_t amount, std::int64_t part, std::int64_t whole) {
  const double share = static_cast<double>(amount) * (static_cast<double>(part) / static_cast<double>(whole));
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(share), 0, amount);
}

void share_out(const WaitRecord& wait, std::size_t wait_index, std::int64_t amount_ns, std::vector<Share>& shares) {
  if (wait.mode == WaitMode::vcpu_stolen) {
    // Whoever was seen on a stolen virtual CPU was its victim.
    shares.push_back({ShareKind::hypervisor, amount_ns, wait_index, wait.mode, std::nullopt});
    return;
  }
  const std::int64_t counted_ns = std::min(wait.stolen_ns, wait.length_ns());
  const bool told_apart = counted_ns > wait.length_ns() / stolen_divisor;
  const std::int64_t stolen_ns = told_apart ? proportion(amount_ns, counted_ns, wait.length_ns()) : 0;
  if (stolen_ns >= stolen_floor_ns) {
    shares.push_back({ShareKind::hypervisor, stolen_ns, wait_index, WaitMode::vcpu_stolen, std::nullopt});
    amount_ns -= stolen_ns;
  }
  std::int64_t left_ns = amount_ns;
  const auto held_of = [&](const Occupant& occupant) { return std::clamp<std::int64_t>(occupant.held_ns, 0, wait.length_ns()); };
  std::int64_t held_ns = 0;
  for (const Occupant& occupant : wait.occupants) {
    held_ns += held_of(occupant);
  }
  const std::int64_t whole_ns = std::max(held_ns, wait.length_ns());
  const std::size_t first_share = shares.size();
  for (std::size_t index = 0; index < wait.occupants.size(); ++index) {
    const std::int64_t length_ns = std::min(proportion(amount_ns, held_of(wait.occupants[index]), whole_ns), left_ns);
    left_ns -= length_ns;
    if (length_ns > 0) {
      shares.push_back({ShareKind::occupant, length_ns, wait_index, wait.mode, index});
    }
  }
  const bool rounding = left_ns <= std::max(unseen_floor_ns, amount_ns / 100);
  if (rounding && shares.size() > first_share) {
    shares[first_share].length_ns += left_ns;
  } else if (left_ns > 0) {
    shares.push_back({ShareKind::unseen, left_ns, wait_index, wait.mode, std::nullopt});
  }
}

/// Shares of the same task doing the same thing are one to the reader, however many waits they came in.
std::vector<Share> combine(const Evidence& evidence, std::vector<Share> shares) {
  const auto identity = [&](const Share& share) {
    const Occupant* occupant = occupant_of(evidence, share);
    static const Occupant nobody;
    const Occupant& who = occupant != nullptr ? *occupant : nobody;
    return std::make_tuple(share.kind, share.mode, who.pid, who.comm, who.syscall_number, who.file);
  };
  std::sort(shares.begin(), shares.end(), [](const Share& a, const Share& b) {
    return std::tie(b.length_ns, a.kind, a.wait, a.occupant) < std::tie(a.length_ns, b.kind, b.wait, b.occupant);
  });
  std::map<decltype(identity(shares.front())), std::size_t> first_of;
  std::vector<Share> combined;
  for (const Share& share : shares) {
    const auto [entry, is_new] = first_of.emplace(identity(share), combined.size());
    if (is_new) {
      combined.push_back(share);
    } else {
      combined[entry->second].length_ns += share.length_ns;
    }
  }
  std::stable_sort(combined.begin(), combined.end(), [](const Share& a, const Share& b) { return a.length_ns > b.length_ns; });
  return combined;
}

}  // namespace

const Occupant* occupant_of(const Evidence& evidence, const Share& share) {
  if (share.kind != ShareKind::occupant || !share.wait || !share.occupant) {
    return nullptr;
  }
  return &evidence.waits[*share.wait].occupants[*share.occupant];
}

std::vector<Share> account(const Evidence& evidence, std::int64_t start_ns, std::int64_t end_ns,
                           std::span<const std::size_t> waits) {
  const Division division = divide(evidence, start_ns, end_ns, waits);
  std::vector<Share> shares;
  for (const auto& [wait_index, amount_ns] : division.by_wait) {
    if (amount_ns > 0) {
      share_out(evidence.waits[wait_index], wait_index, amount_ns, shares);
    }
  }
  const bool catching_up = division.after_waits_ns <= catch_up_limit_ns;
  if (catching_up && division.after_waits_ns > 0) {
    shares.push_back({ShareKind::catching_up, division.after_waits_ns, std::nullopt, std::nullopt, std::nullopt});
  }
  const std::int64_t unexplained_ns = division.elsewhere_ns + (catching_up ? 0 : division.after_waits_ns);
  if (unexplained_ns > 0) {
    shares.push_back({ShareKind::unexplained, unexplained_ns, std::nullopt, std::nullopt, std::nullopt});
  }
  return combine(evidence, std::move(shares));
}

}  // namespace stallscope::diagnose
