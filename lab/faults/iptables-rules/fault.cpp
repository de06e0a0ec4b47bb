// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/iptables-rules/fault.h"

#include <sys/mount.h>

#include <cerrno>
#include <string>

#include "host/private_mounts.h"
#include "lab/rule_walk.h"
#include "lab/run_words.h"

namespace stallscope::lab::iptables_rules {
namespace {

std::string rules_text(const RuleWalk& walk) {
  std::string text = "*raw\n:PREROUTING ACCEPT [0:0]\n:listed - [0:0]\n";
  for (std::int64_t rule = 0; rule < walk.rules_count; ++rule) {
    text += "-A listed -s " + address_in_list(rule) + " -j DROP\n";
  }
  for (std::int64_t pass = 0; pass < walk.walks_count; ++pass) {
    text += "-A PREROUTING -j listed\n";
  }
  return text + "COMMIT\n";
}

/// The program leaves its lock file behind in /run; here that is a /run of its own.
base::Status load(const std::string& path) {
  return host::in_private_mounts([&]() -> base::Status {
    if (::mount("tmpfs", "/run", "tmpfs", 0, nullptr) != 0) {
      return base::errno_error("mount", "/run", errno);
    }
    return run_words("iptables-legacy-restore " + path);
  });
}

base::Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  return run_rule_walk({.fault = fault, .comm = "lab-iptables", .rules_text = rules_text, .load = load}, options, stop, output);
}

}  // namespace

constexpr Fault fault = {
    .id = "iptables-rules",
    .summary = "each packet walks a long list of iptables rules on its way in",
    .expected_rule = "netfilter-rules",
    .expected_mode = "net_rx_work",
    .healthy_help = "the same rules and packets, which do not pass them",
    .parameters = rule_walk_parameters,
    .settings_for = rule_walk_settings,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::iptables_rules
