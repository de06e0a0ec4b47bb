// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "diagnose/diagnosis.h"
#include "evidence/records.h"

// What can be done about a finding. Pure: evidence in, options out. Nothing here carries anything out.
namespace stallscope::remedy {

/// What an option can cost at worst.
enum class Risk : std::uint8_t {
  /// Nothing is lost and everything can be put back.
  low,
  /// Something gets slower, or is not watched, for a while.
  medium,
  /// Content is lost, packets wait while it works, or the node is out of service.
  high,
};
/// "low", "medium", "high".
[[nodiscard]] std::string_view risk_id(Risk risk);

struct Option {
  /// Kebab-case; what `remedy apply` takes where `applicable`.
  std::string id;
  std::string title;
  Risk risk = Risk::low;
  std::string risk_reason;
  /// Exact, as for a shell of root's; names from the evidence are quoted.
  std::vector<std::string> commands;
  /// What it will change, and how that is known.
  std::string effect;
  std::string basis;
  std::string undo;
  std::string check;
  bool applicable = false;

  friend bool operator==(const Option&, const Option&) = default;
};

struct FindingPlan {
  std::string rule_id;
  std::string cause;
  /// Gentlest that works first.
  std::vector<Option> options;
};

struct Plan {
  std::string kernel_release;
  std::vector<FindingPlan> findings;
};

/// Options for each finding of the diagnosis of `evidence`, and for zombies that are present without being blamed.
[[nodiscard]] Plan make_plan(const evidence::Evidence& evidence, const diagnose::Diagnosis& diagnosis);

/// For people; names are made printable.
[[nodiscard]] std::string plan_text(const Plan& plan);
/// docs/json.md describes it.
[[nodiscard]] std::string plan_json(const Plan& plan);

/// 'it'\''s' : one word of a shell, whatever it holds.
[[nodiscard]] std::string shell_quoted(const std::string& text);

}  // namespace stallscope::remedy
