// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <utility>

#include "base/units.h"
#include "diagnose/rules/common.h"

namespace stallscope::diagnose::rules {

std::optional<Finding> bh_off_section(const Context& context) {
  std::vector<Claim> claims = claim_mode(context, {evidence::WaitMode::bh_off}, false);
  if (claims.empty()) {
    return std::nullopt;
  }
  const std::vector<Suspect> found = suspects(context, claims);
  const std::string where = working_in(context, claims);
  Finding finding = finding_by_stack(context, std::move(claims));
  finding.cause = fmt::format("{} kept bottom halves off for up to {}{}{}", name_suspects(found),
                              base::format_duration(longest_claim_ns(finding.claims)), where.empty() ? "" : " ", where);
  finding.evidence_for.push_back(fmt::format("NET_RX was pending, and the preempt count said local_bh_disable, in {}",
                                             of_stalls(stall_count(finding.claims), context)));
  finding.other_causes = other_causes(context, {Check::napi_budget, Check::other_vectors, Check::steal, Check::prober});
  finding.next_steps.push_back(
      fmt::format("find out why {} does this so long, or let it do it less often or on a CPU that does "
                  "not receive",
                  name_suspects(found)));
  finding.next_steps.emplace_back("read docs/rules/bh-off-section.md: known functions and their remedies");
  return finding;
}

}  // namespace stallscope::diagnose::rules
