// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <utility>

#include "diagnose/rules/kernel_work_table.h"
#include "diagnose/rules/rule.h"

namespace stallscope::diagnose::rules {
namespace {

// The release of cgroups and the reading of memory.numa_stat flush statistics as well, and reclaim shrinks slab caches.
constexpr std::array rules_in_order = {
    rule_of<zombie_release>(),
    rule_of<numa_stat_read>(),
    Rule{"memcg-stat-flush", "Flushing memory cgroup statistics", memcg_stat_flush},
    rule_of<slabinfo_read>(),
    rule_of<direct_reclaim>(),
    rule_of<slab_shrink>(),
    Rule{"vcpu-stolen", "The hypervisor did not run the virtual CPU", vcpu_stolen},
    Rule{"softirq-vector", "Another softirq vector ran for long", softirq_vector},
    Rule{"slow-xdp", "An XDP program took long", slow_xdp},
    Rule{"slow-tc", "A tc program took long over received packets", slow_tc},
    Rule{"netfilter-rules", "Received packets walk many packet filter rules", netfilter_rules},
    Rule{"net-rx-work", "Receiving itself took long", net_rx_work},
    Rule{"napi-budget", "More packets than the NAPI budget allows for", napi_budget},
    Rule{"bh-off-section", "Bottom halves were off for long", bh_off_section},
    Rule{"thread-delay", "A task kept softirqs or their thread waiting", thread_delay},
    Rule{"irq-off-section", "Interrupts were off for long", irq_off_section},
    Rule{"backlog-drops", "Received packets were dropped", backlog_drops},
    Rule{"cfs-throttling", "A server used up its CPU quota", cfs_throttling},
    Rule{"accept-queue", "A server does not accept its connections", accept_queue},
    Rule{"socket-unread", "A server does not read what it received", socket_unread},
    Rule{"unexplained", "Not explained by what was observed", unexplained},
};

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
