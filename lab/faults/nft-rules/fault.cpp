// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/nft-rules/fault.h"

#include <string>

#include "lab/rule_walk.h"
#include "lab/run_words.h"

namespace stallscope::lab::nft_rules {
namespace {

std::string rules_text(const RuleWalk& walk) {
  std::string text = "table ip stallscope {\n chain listed {\n";
  for (std::int64_t rule = 0; rule < walk.rules_count; ++rule) {
    text += "  ip saddr " + address_in_list(rule) + " drop\n";
  }
  text += " }\n chain way_in {\n  type filter hook prerouting priority 0;\n";
  for (std::int64_t pass = 0; pass < walk.walks_count; ++pass) {
    text += "  jump listed\n";
  }
  return text + " }\n}\n";
}

base::Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  return run_rule_walk({.fault = fault,
                        .comm = "lab-nft",
                        .rules_text = rules_text,
                        .load = [](const std::string& path) { return run_words("nft -f " + path); }},
                       options, stop, output);
}

}  // namespace

constexpr Fault fault = {
    .id = "nft-rules",
    .summary = "each packet walks a long list of nftables rules on its way in",
    .expected_rule = "netfilter-rules",
    .expected_mode = "net_rx_work",
    .healthy_help = "the same rules and packets, which do not pass them",
    .parameters = rule_walk_parameters,
    .settings_for = rule_walk_settings,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::nft_rules
