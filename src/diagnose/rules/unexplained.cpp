// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/units.h"
#include "diagnose/episodes.h"
#include "diagnose/rules/common.h"

namespace stallscope::diagnose::rules {
namespace {

bool left_over(const Share& share) {
  return share.kind == ShareKind::unexplained || share.kind == ShareKind::unseen;
}

/// Stalls of which more is open than a probe can lose without being late, or most. Less is the edge of something that is explained.
std::set<std::size_t> open_stalls(const Context& context) {
  std::set<std::size_t> open;
  for (std::size_t stall_index = 0; stall_index < context.stalls.size(); ++stall_index) {
    const Stall& stall = context.stalls[stall_index];
    std::int64_t open_ns = 0;
    for (std::size_t share_index = 0; share_index < stall.shares.size(); ++share_index) {
      const bool is_open = left_over(stall.shares[share_index]) && !context.claimed[stall_index][share_index];
      open_ns += is_open ? stall.shares[share_index].length_ns : 0;
    }
    if (open_ns >= late_floor_ns || open_ns > stall.length_ns() / 2) {
      open.insert(stall_index);
    }
  }
  return open;
}

void add_next_steps(const Context& context, Finding& finding) {
  const evidence::RunRecord& run = context.evidence.run;
  if (!run.target.empty() && !run.target_is_local) {
    finding.next_steps.push_back(
        fmt::format("on {} itself, run: sudo stallscope diagnose --for 20s; then compare the times (UTC) of its stalls with these",
                    run.target));
  } else if (!run.traced) {
    finding.next_steps.emplace_back("see what this host lacks for tracing: stallscope doctor");
  } else {
    finding.next_steps.emplace_back("see what this host cannot observe: stallscope doctor");
  }
  finding.next_steps.emplace_back("read docs/rules/unexplained.md: what escapes the tracer, and how to narrow it down");
}

}  // namespace

std::optional<Finding> unexplained(const Context& context) {
  const std::set<std::size_t> open = open_stalls(context);
  if (open.empty()) {
    return std::nullopt;
  }
  Finding finding;
  finding.claims = claim_where(context, [&](const Stall& stall, const Share& share) {
    const auto index = static_cast<std::size_t>(&stall - context.stalls.data());
    return left_over(share) && open.contains(index);
  });
  std::int64_t without_wait_count = 0;
  std::int64_t together_count = 0;
  std::int64_t unseen_ns = 0;
  for (const std::size_t index : open) {
    without_wait_count += context.stalls[index].waits.empty() ? 1 : 0;
    together_count += context.stalls[index].held.release == Release::together ? 1 : 0;
  }
  for (const Claim& claim : finding.claims) {
    const Share& share = context.stalls[claim.stall].shares[claim.share];
    unseen_ns += share.kind == ShareKind::unseen ? claim.length_ns : 0;
  }
  const evidence::RunRecord& run = context.evidence.run;
  const bool remote = !run.target.empty() && !run.target_is_local;
  if (remote) {
    finding.cause = fmt::format("no cause can be named: {} is another host, whose kernel was not watched", run.target);
  } else if (!run.traced) {
    finding.cause = "no cause can be named: the kernel was not traced";
  } else {
    finding.cause = "no cause was found for what is left";
  }
  if (without_wait_count > 0) {
    finding.evidence_for.push_back(
        fmt::format("no wait recorded {}matches {}", remote ? "here " : "", of_stalls(without_wait_count, context)));
  }
  if (unseen_ns > 0) {
    finding.evidence_for.push_back(
        fmt::format("for {} ms the CPU could not receive, but who held it was not seen", base::format_ms(unseen_ns)));
  }
  if (together_count > 0) {
    finding.evidence_for.push_back(
        fmt::format("in {} the replies were held in one queue and released together", of_stalls(together_count, context)));
  }
  // This host's counters say nothing about another.
  finding.other_causes = remote ? other_causes(context, {Check::prober})
                                : other_causes(context, {Check::napi_budget, Check::other_vectors, Check::steal, Check::prober});
  add_next_steps(context, finding);
  return finding;
}

}  // namespace stallscope::diagnose::rules
