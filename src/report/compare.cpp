// SPDX-License-Identifier: Apache-2.0
#include "report/compare.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "base/text.h"
#include "base/units.h"

namespace stallscope::report {
namespace {

using diagnose::Unit;
using nlohmann::json;

constexpr std::size_t line_width = 100;

std::string value_text(Unit unit, const std::optional<std::int64_t>& value) {
  if (!value) {
    return "unknown";
  }
  switch (unit) {
    case Unit::nanoseconds:
      return base::format_duration(*value);
    case Unit::bytes:
      return base::format_bytes(*value);
    case Unit::count:
      break;
  }
  return base::format_count(*value);
}

std::string_view unit_suffix(Unit unit) {
  return unit == Unit::nanoseconds ? "ns" : unit == Unit::bytes ? "bytes" : "count";
}

json known(const std::optional<std::int64_t>& value) {
  return value ? json(*value) : json(nullptr);
}

}  // namespace

std::string render_comparison(const diagnose::Comparison& comparison) {
  std::string text = fmt::format("{:<28} {:>14} {:>14}\n", "", "before", "after");
  for (const diagnose::ComparedRow& row : comparison.rows) {
    text += fmt::format("{:<28} {:>14} {:>14}\n", row.name, value_text(row.unit, row.before), value_text(row.unit, row.after));
  }
  const std::string sentence = fmt::format("{}: {}.", diagnose::change_id(comparison.verdict), comparison.reason);
  text += "\n" + base::wrap(base::printable(sentence), line_width, 2) + "\n";
  for (const std::string& warning : comparison.warnings) {
    text += "Not alike: " + base::printable(warning) + "\n";
  }
  return text;
}

std::string render_comparison_json(const diagnose::Comparison& comparison) {
  json rows = json::array();
  for (const diagnose::ComparedRow& row : comparison.rows) {
    rows.push_back(
        {{"name", row.name}, {"unit", unit_suffix(row.unit)}, {"before", known(row.before)}, {"after", known(row.after)}});
  }
  const json root = {{"verdict", diagnose::change_id(comparison.verdict)},
                     {"reason", comparison.reason},
                     {"rows", rows},
                     {"warnings", comparison.warnings}};
  return root.dump(2, ' ', true, json::error_handler_t::replace) + "\n";
}

}  // namespace stallscope::report
