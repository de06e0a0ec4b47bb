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

inline constexpr std::int64_t default_rules_count = 10'000;
/// More would take long to load, and what is walked is the product anyway.
inline constexpr std::int64_t most_rules_count = 100'000;
/// A rule takes 2 to 7 ns on machines of 2023, as long as all of them fit the CPU's cache.
inline constexpr std::int64_t rule_walk_ns = default_rules_count * 4;
inline constexpr std::int64_t most_walks_count = 2 * longest_length_ns / rule_walk_ns;

inline constexpr std::array<Parameter, 2> rule_walk_parameters = {{
    {.name = "rules",
     .help = "How many rules are in the list",
     .default_value = default_rules_count,
     .minimum = 1,
     .maximum = most_rules_count,
     .reason_for_bounds = "More would take long to load; use more walks."},
    {.name = "walks",
     .help = "How often each packet is sent through the list",
     .default_value = 100 * base::ns_per_ms / rule_walk_ns,
     .minimum = 1,
     .maximum = most_walks_count,
     .reason_for_bounds = "With more the machine itself would suffer."},
}};

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
