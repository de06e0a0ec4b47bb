// SPDX-License-Identifier: Apache-2.0
#include "cli/report_output.h"

#include <unistd.h>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "diagnose/diagnose.h"
#include "evidence/bundle.h"
#include "report/json.h"
#include "report/packets.h"
#include "report/text.h"

namespace stallscope::cli {

int report_bundle(const std::string& path, const ReportOutputOptions& options) {
  const base::Result<evidence::Evidence> evidence = evidence::read_bundle(path);
  if (!evidence) {
    print_error(evidence.error());
    return exit_error;
  }
  const diagnose::Diagnosis diagnosis = diagnose::diagnose(*evidence);
  if (options.json) {
    print_out(report::render_json(*evidence, diagnosis));
  } else {
    report::TextOptions text;
    text.colour = describe_terminal(STDOUT_FILENO).colour;
    text.all = options.all;
    text.bundle_path = path;
    print_out(options.packets ? report::render_packets(*evidence, diagnosis, text)
                              : report::render_text(*evidence, diagnosis, text));
  }
  if (const base::Status finished = finish_output(); !finished) {
    print_error(finished.error());
    return exit_error;
  }
  return diagnosis.outcome == diagnose::Outcome::clean ? exit_clean : exit_findings;
}

}  // namespace stallscope::cli
