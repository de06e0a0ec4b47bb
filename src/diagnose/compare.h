// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "diagnose/diagnosis.h"
#include "evidence/records.h"

namespace stallscope::diagnose {

enum class Change : std::uint8_t {
  better,
  worse,
  /// No difference that chance would not make as well.
  same,
  /// One of the two does not say.
  unknown,
};
[[nodiscard]] std::string_view change_id(Change change);

enum class Unit : std::uint8_t { count, nanoseconds, bytes };

/// One quantity in both recordings.
struct ComparedRow {
  std::string name;
  Unit unit = Unit::count;
  std::optional<std::int64_t> before;
  std::optional<std::int64_t> after;
};

struct Comparison {
  /// Of the stalls and late probes together; what only counts something (zombies, memory) decides nothing.
  Change verdict = Change::unknown;
  /// One sentence.
  std::string reason;
  std::vector<ComparedRow> rows;
  /// What makes the two hard to compare: another kernel, target, interval, length.
  std::vector<std::string> warnings;
};

/// Two recordings, of before and after something was changed. Stalls are compared by their number in the time they had (the exact
/// conditional test for two Poisson rates), late probes by their share of the answered (Fisher's exact test), both at 1 %.
[[nodiscard]] Comparison compare(const evidence::Evidence& before, const Diagnosis& before_diagnosis,
                                 const evidence::Evidence& after, const Diagnosis& after_diagnosis);

}  // namespace stallscope::diagnose
