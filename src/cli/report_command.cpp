// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/report_output.h"

namespace stallscope::cli {

void add_report_command(CLI::App& app, int& exit_status) {
  struct Options {
    std::string bundle;
    std::string node_bundle;
    ReportOutputOptions output;
  };
  CLI::App* command = app.add_subcommand("report", "Print the verdict of a recording again, without privileges");
  auto options = std::make_shared<Options>();
  command->add_option("bundle", options->bundle, "A .stall file made by diagnose")->required();
  command->add_option(
      "node-bundle", options->node_bundle,
      "The bundle of the node that the first one's probes went to, recorded at the same time with the same --echo-id");
  command->add_flag("--json", options->output.json, "Print JSON (docs/json.md describes it)");
  command->add_flag("--all", options->output.all,
                    "List every stall, whole stacks, and who had the CPU in order; with --packets every probe");
  command->add_flag("--packets", options->output.packets, "Instead, list the late probes: where each waited, and who served it")
      ->excludes("--json");
  command->footer(
      "EXAMPLES\n"
      "  stallscope report 10.0.1.2-20261123T0304.stall\n"
      "      The report as diagnose printed it.\n"
      "  stallscope report node.stall --packets\n"
      "      Each late probe: where its time went, and on which CPU and in whose\n"
      "      context its packets were received.\n"
      "  stallscope report node.stall --json | jq '.stalls[].length_ns'\n"
      "      The length of every stall.\n"
      "  sqlite3 node.stall 'SELECT * FROM waits_by_occupant'\n"
      "      The evidence itself: a bundle is an SQLite database.");
  command->callback([options, &exit_status] {
    exit_status = options->node_bundle.empty() ? report_bundle(options->bundle, options->output)
                                               : report_two_ends(options->bundle, options->node_bundle, options->output);
  });
}

}  // namespace stallscope::cli
