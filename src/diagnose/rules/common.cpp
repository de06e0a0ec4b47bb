// SPDX-License-Identifier: Apache-2.0
#include "diagnose/rules/common.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/units.h"
#include "diagnose/arithmetic.h"
#include "diagnose/episodes.h"

namespace stallscope::diagnose::rules {
namespace {

using evidence::CounterRecord;
using evidence::Occupant;
using evidence::WaitMode;
using evidence::WaitRecord;

// include/linux/interrupt.h
constexpr std::int32_t net_rx_vector = 3;
/// Steal up to this much is the noise of any shared host: at 1 % not even a 10 ms stall a second could come from it.
constexpr double steal_limit = 0.01;
/// Of the claimed time this much has to have a holder, or a holder and a stack: the rest is edges of the waits.
constexpr double nearly_all = 0.9;

std::set<std::int32_t> stalled_cpus(const Context& context) {
  std::set<std::int32_t> cpus;
  for (const Stall& stall : context.stalls) {
    if (stall.cpu) {
      cpus.insert(*stall.cpu);
    }
  }
  return cpus;
}

/// Increase of a counter on the stalled CPUs, by CPU; on all CPUs where no stall has one.
std::map<std::int32_t, std::int64_t> counter_increase(const Context& context, std::string_view name) {
  const std::set<std::int32_t> cpus = stalled_cpus(context);
  std::map<std::int32_t, std::int64_t> increase;
  for (const CounterRecord& counter : context.evidence.counters) {
    if (counter.name == name && (cpus.empty() || cpus.contains(counter.cpu))) {
      increase[counter.cpu] = std::max<std::int64_t>(0, saturating_subtract(counter.after, counter.before));
    }
  }
  return increase;
}

OtherCause check_napi_budget(const Context& context) {
  const auto increase = counter_increase(context, "softnet.time_squeeze");
  if (increase.empty()) {
    return {OtherCause::Verdict::unknown, "NAPI budget", "not recorded"};
  }
  std::int64_t squeezes = 0;
  for (const auto& [cpu, count] : increase) {
    squeezes = saturating_add(squeezes, count);
  }
  return {squeezes == 0 ? OtherCause::Verdict::excluded : OtherCause::Verdict::present, "NAPI budget",
          fmt::format("{} squeeze{}", base::format_count(squeezes), squeezes == 1 ? "" : "s")};
}

OtherCause check_other_vectors(const Context& context) {
  const std::string name = "other softirq vectors";
  if (!context.evidence.run.traced) {
    return {OtherCause::Verdict::unknown, name, "not traced"};
  }
  std::int64_t longest_ns = 0;
  for (const WaitRecord& wait : context.evidence.waits) {
    if (wait.mode == WaitMode::softirq_vector && wait.vector != net_rx_vector &&
        context.window.contains(wait.start_ns, wait.end_ns)) {
      longest_ns = std::max(longest_ns, wait.length_ns());
    }
  }
  if (longest_ns == 0) {
    return {OtherCause::Verdict::excluded, name,
            fmt::format("none of {} or more", base::format_duration(context.evidence.run.wait_threshold_ns))};
  }
  return {longest_ns < late_floor_ns ? OtherCause::Verdict::excluded : OtherCause::Verdict::present, name,
          fmt::format("max {} ms", base::format_ms(longest_ns))};
}

OtherCause check_steal(const Context& context) {
  const double stolen = steal_fraction(context);
  if (stolen < 0) {
    return {OtherCause::Verdict::unknown, "steal", "not recorded"};
  }
  return {stolen < steal_limit ? OtherCause::Verdict::excluded : OtherCause::Verdict::present, "steal",
          base::format_percent(stolen)};
}

OtherCause check_prober(const Context& context) {
  const std::int64_t worst_ns = context.probes.worst_own_lateness_ns;
  return {worst_ns < late_floor_ns ? OtherCause::Verdict::excluded : OtherCause::Verdict::present, "the prober itself",
          fmt::format("max {} ms late", base::format_ms(worst_ns))};
}

}  // namespace

double steal_fraction(const Context& context) {
  const std::int64_t run_ns = saturating_subtract(context.evidence.run.end_ns, context.evidence.run.start_ns);
  double largest = -1;
  for (const auto& [cpu, stolen_ns] : counter_increase(context, "steal")) {
    largest = std::max(largest, fraction(stolen_ns, run_ns));
  }
  return largest;
}

std::vector<Claim> claim_where(const Context& context, const std::function<bool(const Stall&, const Share&)>& matches) {
  std::vector<Claim> claims;
  for (std::size_t stall_index = 0; stall_index < context.stalls.size(); ++stall_index) {
    const Stall& stall = context.stalls[stall_index];
    std::int64_t claimed_ns = 0;
    for (std::size_t share_index = 0; share_index < stall.shares.size(); ++share_index) {
      const Share& share = stall.shares[share_index];
      if (!context.claimed[stall_index][share_index] && matches(stall, share)) {
        claims.push_back({stall_index, share_index, share.length_ns});
        claimed_ns += share.length_ns;
      }
    }
    // What queued up during the stall is the same cause's doing.
    for (std::size_t share_index = 0; share_index < stall.shares.size() && claimed_ns > stall.length_ns() / 2; ++share_index) {
      const Share& share = stall.shares[share_index];
      if (share.kind == ShareKind::catching_up && !context.claimed[stall_index][share_index]) {
        claims.push_back({stall_index, share_index, share.length_ns});
      }
    }
  }
  return claims;
}

std::vector<Claim> claim_mode(const Context& context, std::initializer_list<WaitMode> modes, bool also_unseen) {
  return claim_where(context, [&](const Stall&, const Share& share) {
    const bool kind_matches = share.kind == ShareKind::occupant || (also_unseen && share.kind == ShareKind::unseen);
    return kind_matches && share.mode && std::find(modes.begin(), modes.end(), *share.mode) != modes.end();
  });
}

std::vector<Suspect> suspects(const Context& context, const std::vector<Claim>& claims) {
  std::map<std::pair<std::int32_t, std::string>, Suspect> by_task;
  for (const Claim& claim : claims) {
    const Occupant* occupant = occupant_of(context.evidence, context.stalls[claim.stall].shares[claim.share]);
    if (occupant == nullptr) {
      continue;
    }
    Suspect& suspect = by_task[{occupant->tgid, occupant->comm}];
    if (suspect.occupant == nullptr || claim.length_ns > suspect.longest_ns) {
      suspect.occupant = occupant;
      suspect.longest_ns = claim.length_ns;
    }
    suspect.total_ns += claim.length_ns;
    if (suspect.stalls.empty() || suspect.stalls.back() != claim.stall) {
      suspect.stalls.push_back(claim.stall);
    }
  }
  std::vector<Suspect> found;
  found.reserve(by_task.size());
  for (auto& [task, suspect] : by_task) {
    found.push_back(std::move(suspect));
  }
  std::stable_sort(found.begin(), found.end(), [](const Suspect& a, const Suspect& b) { return a.total_ns > b.total_ns; });
  return found;
}

std::string task_name(const Occupant& occupant) {
  if (occupant.pid == 0) {
    return occupant.is_idle() ? "the idle task" : "an exiting thread";
  }
  return fmt::format("{} (pid {})", occupant.comm, occupant.tgid != 0 ? occupant.tgid : occupant.pid);
}

std::string name_suspects(const std::vector<Suspect>& found) {
  if (found.empty()) {
    return "a task that was not seen";
  }
  std::string text = task_name(*found.front().occupant);
  if (found.size() > 1) {
    text += fmt::format(" and {} other{}", found.size() - 1, found.size() == 2 ? "" : "s");
  }
  return text;
}

std::string working_in(const Context& context, const std::vector<Claim>& claims) {
  const Claim* longest = nullptr;
  std::string_view function;
  for (const Claim& claim : claims) {
    const Occupant* occupant = occupant_of(context.evidence, context.stalls[claim.stall].shares[claim.share]);
    const std::vector<std::string>* frames = occupant == nullptr ? nullptr : context.stacks.frames(occupant->stack_id);
    if (frames == nullptr || (longest != nullptr && claim.length_ns <= longest->length_ns)) {
      continue;
    }
    const std::string_view candidate = working_function(*frames);
    if (!candidate.empty()) {
      longest = &claim;
      function = candidate;
    }
  }
  // Where most of the time nobody was in the kernel, the rest is beside the point.
  return function.empty() || part_with_stack(context, claims) < 0.5 ? std::string{} : fmt::format("in {}", function);
}

std::int64_t longest_claim_ns(const std::vector<Claim>& claims) {
  std::int64_t longest_ns = 0;
  for (const Claim& claim : claims) {
    longest_ns = std::max(longest_ns, claim.length_ns);
  }
  return longest_ns;
}

std::int64_t stall_count(const std::vector<Claim>& claims) {
  std::set<std::size_t> stalls;
  for (const Claim& claim : claims) {
    stalls.insert(claim.stall);
  }
  return static_cast<std::int64_t>(stalls.size());
}

std::string of_stalls(std::int64_t count, const Context& context) {
  return fmt::format("{} of {} stall{}", base::format_count(count),
                     base::format_count(static_cast<std::int64_t>(context.stalls.size())), context.stalls.size() == 1 ? "" : "s");
}

namespace {

struct HolderParts {
  double known = 0;
  double with_stack = 0;
};

HolderParts holder_parts(const Context& context, const std::vector<Claim>& claims) {
  std::int64_t total_ns = 0;
  std::int64_t known_ns = 0;
  std::int64_t with_stack_ns = 0;
  for (const Claim& claim : claims) {
    const Share& share = context.stalls[claim.stall].shares[claim.share];
    const Occupant* occupant = occupant_of(context.evidence, share);
    total_ns += claim.length_ns;
    // Catching up has no holder and needs none.
    const bool known = occupant != nullptr || share.kind == ShareKind::catching_up;
    const bool with_stack =
        share.kind == ShareKind::catching_up || (occupant != nullptr && context.stacks.frames(occupant->stack_id) != nullptr);
    known_ns += known ? claim.length_ns : 0;
    with_stack_ns += with_stack ? claim.length_ns : 0;
  }
  return {fraction(known_ns, total_ns), fraction(with_stack_ns, total_ns)};
}

}  // namespace

double part_with_stack(const Context& context, const std::vector<Claim>& claims) {
  return holder_parts(context, claims).with_stack;
}

Finding finding_by_stack(const Context& context, std::vector<Claim> claims) {
  const HolderParts parts = holder_parts(context, claims);
  Finding finding;
  if (parts.with_stack >= nearly_all) {
    finding.confidence = Confidence::high;
    finding.confidence_reason = "who held the CPU was seen with its kernel stack";
  } else if (parts.known >= nearly_all) {
    finding.confidence = Confidence::medium;
    finding.confidence_reason = "who held the CPU was seen, but not where in the kernel";
  } else {
    finding.confidence = Confidence::low;
    finding.confidence_reason = "who held the CPU was seen for part of the time only";
  }
  finding.claims = std::move(claims);
  return finding;
}

std::vector<OtherCause> other_causes(const Context& context, std::initializer_list<Check> checks) {
  std::vector<OtherCause> causes;
  for (const Check check : checks) {
    switch (check) {
      case Check::napi_budget:
        causes.push_back(check_napi_budget(context));
        break;
      case Check::other_vectors:
        causes.push_back(check_other_vectors(context));
        break;
      case Check::steal:
        causes.push_back(check_steal(context));
        break;
      case Check::prober:
        if (!context.evidence.probes.empty()) {
          causes.push_back(check_prober(context));
        }
        break;
    }
  }
  return causes;
}

}  // namespace stallscope::diagnose::rules
