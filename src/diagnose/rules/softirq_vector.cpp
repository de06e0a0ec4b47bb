// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <map>
#include <string>
#include <utility>

#include "base/units.h"
#include "diagnose/rules/common.h"

namespace stallscope::diagnose::rules {

std::optional<Finding> softirq_vector(const Context& context) {
  std::vector<Claim> claims = claim_mode(context, {evidence::WaitMode::softirq_vector}, true);
  if (claims.empty()) {
    return std::nullopt;
  }
  std::map<std::string, std::int64_t> by_vector_ns;
  std::string longest;
  for (const Claim& claim : claims) {
    const Share& share = context.stalls[claim.stall].shares[claim.share];
    if (share.wait) {
      const std::string name(evidence::softirq_vector_name(context.evidence.waits[*share.wait].vector));
      by_vector_ns[name] += claim.length_ns;
      longest = longest.empty() || by_vector_ns[name] > by_vector_ns[longest] ? name : longest;
    }
  }
  const std::string where = working_in(context, claims);
  Finding finding = finding_by_stack(context, std::move(claims));
  finding.cause = fmt::format("softirq vector {} ran for up to {}{}{} while received packets waited", longest,
                              base::format_duration(longest_claim_ns(finding.claims)), where.empty() ? "" : " ", where);
  std::string by_vector;
  for (const auto& [name, length_ns] : by_vector_ns) {
    by_vector += fmt::format("{}{} {} ms", by_vector.empty() ? "" : ", ", name, base::format_ms(length_ns));
  }
  finding.evidence_for.push_back(fmt::format("NET_RX was pending while another vector ran in {}: {}",
                                             of_stalls(stall_count(finding.claims), context), by_vector));
  finding.other_causes = other_causes(context, {Check::napi_budget, Check::steal, Check::prober});
  if (where.find("estimation_timer") != std::string::npos) {
    finding.next_steps.emplace_back(
        "IPVS estimates the rates of all its services there: fewer services, net.ipv4.vs.run_estimation=0, or Linux 6.2 or newer, "
        "which does it in threads");
  }
  finding.next_steps.emplace_back("read docs/rules/softirq-vector.md: what each vector does, and remedies");
  return finding;
}

}  // namespace stallscope::diagnose::rules
