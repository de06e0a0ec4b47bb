// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/units.h"
#include "diagnose/rules/common.h"

namespace stallscope::diagnose::rules {

std::optional<Finding> napi_budget(const Context& context) {
  std::vector<Claim> claims = claim_mode(context, {evidence::WaitMode::napi_budget}, true);
  if (claims.empty()) {
    return std::nullopt;
  }
  std::int64_t packets = 0;
  for (const Claim& claim : claims) {
    const Stall& stall = context.stalls[claim.stall];
    packets = std::max(packets, stall.packets_released.value_or(0));
  }
  const std::string where = working_in(context, claims);
  Finding finding = finding_by_stack(context, std::move(claims));
  finding.cause = fmt::format("more packets arrived than the CPU could process: its queues did not empty for up to {}",
                              base::format_duration(longest_claim_ns(finding.claims)));
  finding.evidence_for.push_back(fmt::format("NET_RX left off with packets in its queues and ran again, without a pause, in {}",
                                             of_stalls(stall_count(finding.claims), context)));
  if (packets > 0) {
    finding.evidence_for.push_back(fmt::format("up to {} packets were processed without a pause{}{}", base::format_count(packets),
                                               where.empty() ? "" : ", most of the time ", where));
  }
  finding.other_causes = other_causes(context, {Check::other_vectors, Check::steal, Check::prober});
  finding.next_steps.emplace_back(
      "spread the load: more RX queues (ethtool -L), RPS over more CPUs (rps_cpus), or another CPU for the flood");
  finding.next_steps.emplace_back("read docs/rules/napi-budget.md: who floods, and what a larger budget does");
  return finding;
}

}  // namespace stallscope::diagnose::rules
