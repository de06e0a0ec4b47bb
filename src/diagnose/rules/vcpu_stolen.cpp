// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <utility>

#include "base/units.h"
#include "diagnose/arithmetic.h"
#include "diagnose/rules/common.h"

namespace stallscope::diagnose::rules {
namespace {

/// Of the time the rule claims, steal has to account for one part in this many to confirm it.
constexpr double confirming_part = 0.5;

}  // namespace

std::optional<Finding> vcpu_stolen(const Context& context) {
  Finding finding;
  finding.claims = claim_where(context, [](const Stall&, const Share& share) { return share.kind == ShareKind::hypervisor; });
  if (finding.claims.empty()) {
    return std::nullopt;
  }
  std::int64_t stolen_ns = 0;
  std::vector<Claim> late_timers;
  std::vector<Claim> counted;
  for (const Claim& claim : finding.claims) {
    stolen_ns += claim.length_ns;
    const Share& share = context.stalls[claim.stall].shares[claim.share];
    if (share.wait) {
      const bool whole_wait = context.evidence.waits[*share.wait].mode == evidence::WaitMode::vcpu_stolen;
      (whole_wait ? late_timers : counted).push_back(claim);
    }
  }
  finding.cause = fmt::format("the hypervisor did not run the virtual CPU for up to {}",
                              base::format_duration(longest_claim_ns(finding.claims)));
  if (!late_timers.empty()) {
    finding.evidence_for.push_back(
        fmt::format("a timer or softirq came late although nothing that ran on the CPU can hold it back, in {}",
                    of_stalls(stall_count(late_timers), context)));
  }
  if (!counted.empty()) {
    finding.evidence_for.push_back(fmt::format("the kernel counted part of the time as stolen, up to {}, in {}",
                                               base::format_duration(longest_claim_ns(counted)),
                                               of_stalls(stall_count(counted), context)));
  }
  const double steal = steal_fraction(context);
  const auto run_ns = saturating_subtract(context.evidence.run.end_ns, context.evidence.run.start_ns);
  if (steal < 0) {
    finding.confidence = Confidence::medium;
    finding.confidence_reason = "steal time was not recorded";
  } else if (steal * static_cast<double>(run_ns) >= confirming_part * static_cast<double>(stolen_ns)) {
    finding.confidence = Confidence::high;
    finding.confidence_reason = "the kernel's steal counter agrees";
    finding.evidence_for.push_back(fmt::format("the kernel counted {} steal on that CPU", base::format_percent(steal)));
  } else {
    finding.confidence = Confidence::low;
    finding.confidence_reason =
        "the kernel's steal counter does not show it; firmware (SMI) or a hypervisor that does not report "
        "steal looks the same";
  }
  finding.other_causes = other_causes(context, {Check::napi_budget, Check::other_vectors, Check::prober});
  finding.next_steps.emplace_back("ask whoever runs the host below for less overcommitment or dedicated CPUs");
  finding.next_steps.emplace_back("read docs/rules/vcpu-stolen.md");
  return finding;
}

}  // namespace stallscope::diagnose::rules
