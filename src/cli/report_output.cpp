// SPDX-License-Identifier: Apache-2.0
#include "cli/report_output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <utility>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "diagnose/diagnose.h"
#include "evidence/bundle.h"
#include "join/two_ends.h"
#include "report/json.h"
#include "report/packets.h"
#include "report/text.h"

namespace stallscope::cli {

namespace {

using evidence::Evidence;

int print_report(const Evidence& evidence, const std::string& path, const ReportOutputOptions& options,
                 const std::optional<report::TwoEndsFacts>& two_ends = std::nullopt) {
  const diagnose::Diagnosis diagnosis = diagnose::diagnose(evidence);
  if (options.json) {
    print_out(report::render_json(evidence, diagnosis, two_ends));
  } else {
    report::TextOptions text;
    text.colour = describe_terminal(STDOUT_FILENO).colour;
    text.all = options.all;
    text.bundle_path = path;
    print_out(options.packets ? report::render_packets(evidence, diagnosis, text) : report::render_text(evidence, diagnosis, text));
  }
  if (const base::Status finished = finish_output(); !finished) {
    print_error(finished.error());
    return exit_error;
  }
  return diagnosis.outcome == diagnose::Outcome::clean ? exit_clean : exit_findings;
}

}  // namespace

int report_bundle(const std::string& path, const ReportOutputOptions& options) {
  const base::Result<Evidence> evidence = evidence::read_bundle(path);
  if (!evidence) {
    print_error(evidence.error());
    return exit_error;
  }
  return print_report(*evidence, path, options);
}

int report_two_ends(const std::string& prober_path, const std::string& node_path, const ReportOutputOptions& options) {
  const base::Result<Evidence> prober = evidence::read_bundle(prober_path);
  base::Result<Evidence> node = evidence::read_bundle(node_path);
  if (!prober || !node) {
    print_error(prober ? node.error() : prober.error());
    return exit_error;
  }
  const base::Result<join::TwoEnds> joined = join::join_two_ends(*prober, *std::move(node));
  if (!joined) {
    print_error(joined.error());
    return exit_error;
  }
  constexpr double ppm = 1e6;
  const report::TwoEndsFacts facts{joined->seen_count, joined->probe_count, joined->clock.uncertainty_ns,
                                   joined->clock.drift * ppm};
  fmt::print(stderr, "Two ends: the node saw {} of {} probes; its clock is known to {} ({:+.1f} ppm).\n",
             base::format_count(facts.seen_count), base::format_count(facts.probe_count),
             base::format_duration(facts.clock_uncertainty_ns), facts.clock_drift_ppm);
  return print_report(joined->evidence, node_path, options, facts);
}

}  // namespace stallscope::cli
