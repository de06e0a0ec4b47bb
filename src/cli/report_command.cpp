// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "diagnose/diagnose.h"
#include "evidence/bundle.h"
#include "report/json.h"
#include "report/text.h"

namespace stallscope::cli {
namespace {

struct ReportOptions {
  std::string bundle;
  bool json = false;
  bool all = false;
};

bool colour_wanted() {
  const char* no_color = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0');
}

int run_report(const ReportOptions& options) {
  const base::Result<evidence::Evidence> evidence = evidence::read_bundle(options.bundle);
  if (!evidence) {
    std::cerr << "stallscope: " << evidence.error().message() << "\n";
    return exit_error;
  }
  const diagnose::Diagnosis diagnosis = diagnose::diagnose(*evidence);
  if (options.json) {
    std::cout << report::render_json(*evidence, diagnosis);
  } else {
    report::TextOptions text;
    text.colour = colour_wanted();
    text.all = options.all;
    text.bundle_path = options.bundle;
    std::cout << report::render_text(*evidence, diagnosis, text);
  }
  if (!std::cout.flush()) {
    std::cerr << "stallscope: cannot write the report: standard output was closed or is full\n";
    return exit_error;
  }
  return diagnosis.outcome == diagnose::Outcome::clean ? exit_clean : exit_findings;
}

}  // namespace

void add_report_command(CLI::App& app, int& exit_status) {
  CLI::App* command = app.add_subcommand("report", "Show what a bundle says: stalls, causes and what could not be observed");
  const auto options = std::make_shared<ReportOptions>();
  command->add_option("BUNDLE", options->bundle, "The bundle (*.stall) that a recording left")->required();
  command->add_flag("--json", options->json, "Print the whole report as JSON (docs/json.md)");
  command->add_flag("--all", options->all, "Show every stall, not only the longest, and whole stacks");
  command->footer(
      "EXAMPLES\n"
      "  stallscope report node-1.stall              what happened, on 80 columns\n"
      "  stallscope report node-1.stall --all        every stall of it\n"
      "  stallscope report node-1.stall --json | jq '.findings[].rule'\n"
      "\n"
      "Needs no privileges, and not the machine that was recorded.\n"
      "Exit status: 0 nothing wrong, 1 stalls or lost probes, 2 the bundle cannot be read.");
  command->callback([options, &exit_status] { exit_status = run_report(*options); });
}

}  // namespace stallscope::cli
