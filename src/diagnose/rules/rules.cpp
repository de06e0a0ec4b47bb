// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <utility>

#include "diagnose/rules/rule.h"

namespace stallscope::diagnose::rules {
namespace {

constexpr std::array<Rule, 9> rules_in_order = {{
    {"memcg-stat-flush", "Flushing memory cgroup statistics", memcg_stat_flush},
    {"vcpu-stolen", "The hypervisor did not run the virtual CPU", vcpu_stolen},
    {"softirq-vector", "Another softirq vector ran for long", softirq_vector},
    {"net-rx-work", "Receiving itself took long", net_rx_work},
    {"napi-budget", "More packets than the NAPI budget allows for", napi_budget},
    {"bh-off-section", "Bottom halves were off for long", bh_off_section},
    {"thread-delay", "A task kept softirqs or their thread waiting", thread_delay},
    {"irq-off-section", "Interrupts were off for long", irq_off_section},
    {"unexplained", "Not explained by what was observed", unexplained},
}};

}  // namespace

std::span<const Rule> all_rules() {
  return rules_in_order;
}

std::vector<Finding> evaluate_rules(Context context) {
  context.claimed.clear();
  for (const Stall& stall : context.stalls) {
    context.claimed.emplace_back(stall.shares.size(), false);
  }
  std::vector<Finding> findings;
  for (const Rule& rule : all_rules()) {
    std::optional<Finding> finding = rule.evaluate(context);
    if (!finding) {
      continue;
    }
    finding->rule_id = rule.id;
    for (const Claim& claim : finding->claims) {
      context.claimed[claim.stall][claim.share] = true;
      finding->explained_ns += claim.length_ns;
    }
    findings.push_back(*std::move(finding));
  }
  // The reader wants the largest cause first; what stays unexplained was evaluated last and comes last.
  const auto causes_end =
      std::find_if(findings.begin(), findings.end(), [](const Finding& finding) { return !finding.confidence; });
  std::stable_sort(findings.begin(), causes_end,
                   [](const Finding& a, const Finding& b) { return a.explained_ns > b.explained_ns; });
  return findings;
}

}  // namespace stallscope::diagnose::rules
