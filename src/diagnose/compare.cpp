// SPDX-License-Identifier: Apache-2.0
#include "diagnose/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/units.h"
#include "diagnose/arithmetic.h"
#include "diagnose/memcg_facts.h"
#include "shape/statistics.h"

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;

/// Chance has to be rarer than this to count as a change.
constexpr double significance = 0.01;

struct Side {
  const Evidence& evidence;
  const Diagnosis& diagnosis;

  [[nodiscard]] std::int64_t length_ns() const {
    return std::max<std::int64_t>(saturating_subtract(evidence.run.end_ns, evidence.run.start_ns), 1);
  }
  [[nodiscard]] std::int64_t stall_count() const { return static_cast<std::int64_t>(diagnosis.stalls.size()); }
};

std::optional<std::int64_t> if_probed(const Side& side, std::int64_t value) {
  return side.diagnosis.probed ? std::optional(value) : std::nullopt;
}

std::optional<std::int64_t> longest_stall(const Side& side) {
  std::int64_t longest_ns = 0;
  for (const Stall& stall : side.diagnosis.stalls) {
    longest_ns = std::max(longest_ns, stall.length_ns());
  }
  return longest_ns;
}

std::optional<std::int64_t> slowest_read(const Side& side) {
  const auto& reads = side.evidence.stat_reads;
  const auto slowest =
      std::max_element(reads.begin(), reads.end(), [](const auto& a, const auto& b) { return a.worst_ns < b.worst_ns; });
  return slowest == reads.end() ? std::nullopt : std::optional(slowest->worst_ns);
}

std::optional<std::int64_t> memory_of(const Side& side, std::string_view name) {
  const auto& rows = side.evidence.memory;
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.name == name; });
  return found == rows.end() ? std::nullopt : std::optional(found->bytes);
}

std::vector<ComparedRow> rows_of(const Side& before, const Side& after) {
  std::vector<ComparedRow> rows;
  const auto add = [&](std::string name, Unit unit, const auto& value_of) {
    rows.push_back({std::move(name), unit, value_of(before), value_of(after)});
  };
  add("recorded for", Unit::nanoseconds, [](const Side& side) { return std::optional(side.length_ns()); });
  add("stalls", Unit::count, [](const Side& side) { return std::optional(side.stall_count()); });
  add("stalled", Unit::nanoseconds, [](const Side& side) { return std::optional(side.diagnosis.stalled_ns); });
  add("longest stall", Unit::nanoseconds, longest_stall);
  add("probes answered", Unit::count, [](const Side& side) { return if_probed(side, side.diagnosis.probes.answered_count); });
  add("probes late", Unit::count, [](const Side& side) { return if_probed(side, side.diagnosis.probes.late_count); });
  add("probes lost", Unit::count, [](const Side& side) { return if_probed(side, side.diagnosis.probes.lost_count); });
  add("median RTT", Unit::nanoseconds, [](const Side& side) { return if_probed(side, side.diagnosis.probes.baseline_rtt_ns); });
  add("worst reply", Unit::nanoseconds, [](const Side& side) { return if_probed(side, side.diagnosis.probes.worst_ns); });
  add("memory cgroups", Unit::count, [](const Side& side) { return memcg_counts(side.evidence).total; });
  add("of them dying", Unit::count, [](const Side& side) { return memcg_counts(side.evidence).dying; });
  add("slowest memory.stat read", Unit::nanoseconds, slowest_read);
  for (const std::string_view name : {"MemFree", "Cached", "Slab", "SUnreclaim"}) {
    add(std::string(name), Unit::bytes, [&](const Side& side) { return memory_of(side, name); });
  }
  return rows;
}

struct Test {
  Change change = Change::unknown;
  double chance = 1;
};

Test judged(double chance_of_fewer, double chance_of_more) {
  if (chance_of_fewer < significance) {
    return {Change::better, chance_of_fewer};
  }
  if (chance_of_more < significance) {
    return {Change::worse, chance_of_more};
  }
  return {Change::same, std::min(chance_of_fewer, chance_of_more)};
}

/// Given how many there were in all, each fell into the longer recording with a probability as its length.
Test compare_stalls(const Side& before, const Side& after) {
  const bool probed_or_traced =
      (before.evidence.run.traced || before.diagnosis.probed) && (after.evidence.run.traced || after.diagnosis.probed);
  if (!probed_or_traced) {
    return {};
  }
  const std::int64_t all = before.stall_count() + after.stall_count();
  const double share_before =
      static_cast<double>(before.length_ns()) / (static_cast<double>(before.length_ns()) + static_cast<double>(after.length_ns()));
  return judged(shape::binomial_tail(before.stall_count(), all, share_before),
                shape::binomial_tail(after.stall_count(), all, 1 - share_before));
}

Test compare_late(const Side& before, const Side& after) {
  if (!before.diagnosis.probed || !after.diagnosis.probed) {
    return {};
  }
  const ProbeSummary& first = before.diagnosis.probes;
  const ProbeSummary& second = after.diagnosis.probes;
  const std::int64_t answered = first.answered_count + second.answered_count;
  const std::int64_t late = first.late_count + second.late_count;
  const auto chance = [&](const ProbeSummary& one) {
    return std::exp(shape::log_hypergeometric_tail(one.late_count, answered, late, one.answered_count));
  };
  return judged(chance(first), chance(second));
}

std::string sentence_of(const Side& before, const Side& after, const Test& stalls, const Test& late) {
  const auto chance = [](const Test& test) {
    return test.chance < 0.001 ? std::string("p < 0.001") : fmt::format("p = {:.3f}", test.chance);
  };
  std::string text = fmt::format("{} stalls in {} before, {} in {} after", base::format_count(before.stall_count()),
                                 base::format_duration(before.length_ns()), base::format_count(after.stall_count()),
                                 base::format_duration(after.length_ns()));
  if (stalls.change != Change::unknown) {
    text += fmt::format(" ({})", chance(stalls));
  }
  if (late.change != Change::unknown) {
    text += fmt::format(
        "; {} of {} probes late before, {} of {} after ({})", base::format_count(before.diagnosis.probes.late_count),
        base::format_count(before.diagnosis.probes.answered_count), base::format_count(after.diagnosis.probes.late_count),
        base::format_count(after.diagnosis.probes.answered_count), chance(late));
  }
  return text;
}

std::vector<std::string> warnings_of(const evidence::RunRecord& before, const evidence::RunRecord& after) {
  std::vector<std::string> warnings;
  const auto warn = [&](bool differs, std::string_view what, const std::string& first, const std::string& second) {
    if (differs) {
      warnings.push_back(
          fmt::format("{}: {} before, {} after", what, first.empty() ? "none" : first, second.empty() ? "none" : second));
    }
  };
  warn(before.hostname != after.hostname, "another host", before.hostname, after.hostname);
  warn(before.kernel_release != after.kernel_release, "another kernel", before.kernel_release, after.kernel_release);
  warn(before.target != after.target, "another target", before.target, after.target);
  warn(before.probe_interval_ns != after.probe_interval_ns, "another interval", base::format_duration(before.probe_interval_ns),
       base::format_duration(after.probe_interval_ns));
  warn(before.wait_threshold_ns != after.wait_threshold_ns, "another threshold", base::format_duration(before.wait_threshold_ns),
       base::format_duration(after.wait_threshold_ns));
  return warnings;
}

Change together(Change stalls, Change late) {
  for (const Change change : {Change::worse, Change::better, Change::same}) {
    if (stalls == change || late == change) {
      return change;
    }
  }
  return Change::unknown;
}

}  // namespace

std::string_view change_id(Change change) {
  constexpr std::array<std::string_view, 4> ids = {"better", "worse", "same", "unknown"};
  return ids[static_cast<std::size_t>(change)];
}

Comparison compare(const Evidence& before, const Diagnosis& before_diagnosis, const Evidence& after,
                   const Diagnosis& after_diagnosis) {
  const Side first{before, before_diagnosis};
  const Side second{after, after_diagnosis};
  const Test stalls = compare_stalls(first, second);
  const Test late = compare_late(first, second);
  Comparison comparison;
  comparison.verdict = together(stalls.change, late.change);
  comparison.reason = sentence_of(first, second, stalls, late);
  comparison.rows = rows_of(first, second);
  comparison.warnings = warnings_of(before.run, after.run);
  return comparison;
}

}  // namespace stallscope::diagnose
