// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <utility>

#include "base/units.h"
#include "diagnose/rules/common.h"

namespace stallscope::diagnose::rules {

std::optional<Finding> net_rx_work(const Context& context) {
  std::vector<Claim> claims = claim_mode(context, {evidence::WaitMode::net_rx_work}, true);
  if (claims.empty()) {
    return std::nullopt;
  }
  const std::string where = working_in(context, claims);
  Finding finding = finding_by_stack(context, std::move(claims));
  finding.cause = fmt::format("receiving packets itself took up to {}{}{}", base::format_duration(longest_claim_ns(finding.claims)),
                              where.empty() ? "" : " ", where);
  finding.evidence_for.push_back(fmt::format("NET_RX ran without a pause in {}", of_stalls(stall_count(finding.claims), context)));
  finding.other_causes = other_causes(context, {Check::napi_budget, Check::other_vectors, Check::steal, Check::prober});
  finding.next_steps.emplace_back("read docs/rules/net-rx-work.md");
  return finding;
}

}  // namespace stallscope::diagnose::rules
