// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/compare.h"
#include "cli/terminal.h"
#include "diagnose/diagnose.h"
#include "evidence/bundle.h"
#include "report/compare.h"

namespace stallscope::cli {

base::Result<diagnose::Comparison> compare_bundles(const std::string& before_path, const std::string& after_path) {
  const base::Result<evidence::Evidence> before = evidence::read_bundle(before_path);
  const base::Result<evidence::Evidence> after = evidence::read_bundle(after_path);
  if (!before || !after) {
    return before ? after.error() : before.error();
  }
  return diagnose::compare(*before, diagnose::diagnose(*before), *after, diagnose::diagnose(*after));
}

void add_compare_command(CLI::App& app, int& exit_status) {
  struct Options {
    std::string before;
    std::string after;
    bool json = false;
  };
  CLI::App* const command = app.add_subcommand("compare", "Whether stalls and late probes became fewer between two recordings");
  const auto options = std::make_shared<Options>();
  command->add_option("before", options->before, "A .stall file made before something was changed")->required();
  command->add_option("after", options->after, "A .stall file made after it")->required();
  command->add_flag("--json", options->json, "Print JSON (docs/json.md describes it)");
  command->footer(
      "Exit status: 0 better or the same, 1 worse, 2 an error or not to be told.\n"
      "\n"
      "EXAMPLES\n"
      "  stallscope compare before.stall after.stall\n"
      "      Did the remedy help, and could it be chance?");
  command->callback([options, &exit_status] {
    const base::Result<diagnose::Comparison> comparison = compare_bundles(options->before, options->after);
    if (!comparison) {
      print_error(comparison.error());
      exit_status = exit_error;
      return;
    }
    print_out(options->json ? report::render_comparison_json(*comparison) : report::render_comparison(*comparison));
    exit_status = comparison->verdict == diagnose::Change::worse     ? exit_findings
                  : comparison->verdict == diagnose::Change::unknown ? exit_error
                                                                     : exit_clean;
  });
}

}  // namespace stallscope::cli
