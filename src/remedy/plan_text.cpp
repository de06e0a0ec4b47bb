// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "remedy/plan.h"

namespace stallscope::remedy {
namespace {

using base::printable;
using nlohmann::json;

constexpr std::size_t line_width = 100;
constexpr std::size_t indent = 10;

std::string line(std::string_view label, std::string_view text) {
  return fmt::format("    {:<{}}{}\n", label, indent - 4, base::wrap(printable(text), line_width - indent, indent));
}

std::string option_text(std::size_t number, const Option& option) {
  std::string text =
      fmt::format("\n  {}. {}  [{}]\n", number, base::wrap(printable(option.title), line_width - indent, indent - 5), option.id);
  for (const std::string& command : option.commands) {
    // Not wrapped: it is to be copied.
    text += fmt::format("    {:<{}}{}\n", "do", indent - 4, printable(command));
  }
  text += line("gives", fmt::format("{} ({})", option.effect, option.basis));
  text += line("risk", fmt::format("{}: {}", risk_id(option.risk), option.risk_reason));
  text += line("undo", option.undo);
  return text + line("check", option.check);
}

}  // namespace

std::string plan_text(const Plan& plan) {
  if (plan.findings.empty()) {
    return "Nothing was found that needs a remedy.\n";
  }
  std::string text;
  for (const FindingPlan& finding : plan.findings) {
    text +=
        fmt::format("{}{}  ({})\n", text.empty() ? "" : "\n", base::wrap(printable(finding.cause), line_width, 2), finding.rule_id);
    if (finding.options.empty()) {
      text += fmt::format("  No remedy is known; docs/rules/{}.md says what to look at next.\n", finding.rule_id);
    }
    for (std::size_t i = 0; i < finding.options.size(); ++i) {
      text += option_text(i + 1, finding.options[i]);
    }
  }
  return text + "\nNothing has been done. Options with `stallscope remedy apply` show what they would do without --go.\n";
}

std::string plan_json(const Plan& plan) {
  json findings = json::array();
  for (const FindingPlan& finding : plan.findings) {
    json options = json::array();
    for (const Option& option : finding.options) {
      options.push_back({{"id", option.id},
                         {"title", option.title},
                         {"risk", risk_id(option.risk)},
                         {"risk_reason", option.risk_reason},
                         {"commands", option.commands},
                         {"effect", option.effect},
                         {"basis", option.basis},
                         {"undo", option.undo},
                         {"check", option.check},
                         {"applicable", option.applicable}});
    }
    findings.push_back({{"rule", finding.rule_id}, {"cause", finding.cause}, {"options", options}});
  }
  const json root = {{"kernel_release", plan.kernel_release}, {"findings", findings}};
  return root.dump(2, ' ', true, json::error_handler_t::replace) + "\n";
}

}  // namespace stallscope::remedy
