// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "lab/faults/fault.h"

// What the faults by packet filter rules have in common: a list of rules none of which matches, walked by each packet on its way
// in.
namespace stallscope::lab {

struct RuleWalk {
  /// Rules in the list.
  std::int64_t rules_count = 0;
  /// How often a packet is sent through the list; 0 in the control.
  std::int64_t walks_count = 0;
};

extern const std::array<Parameter, 2> rule_walk_parameters;

/// As many walks as take about this long.
[[nodiscard]] Settings rule_walk_settings(std::int64_t length_ns);

/// Address number `index` of a list of addresses that nobody has: 198.18.0.0/15 is for benchmarks (RFC 2544).
[[nodiscard]] std::string address_in_list(std::int64_t index);

struct RuleWalkPlan {
  const Fault& fault;
  std::string comm;
  /// The rules in the words of the program that loads them.
  std::function<std::string(const RuleWalk&)> rules_text;
  /// Loads the file with the rules in the calling process's network namespace.
  std::function<base::Status(const std::string& path)> load;
};

[[nodiscard]] base::Status run_rule_walk(const RuleWalkPlan& plan, const RunOptions& options, StopSignals& stop,
                                         const RunOutput& output);

}  // namespace stallscope::lab
