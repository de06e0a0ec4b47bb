// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sched.h>

#include <cstdint>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/recorder.h"
#include "cli/remedy_apply.h"
#include "cli/terminal.h"
#include "diagnose/diagnose.h"
#include "evidence/bundle.h"
#include "remedy/plan.h"

namespace stallscope::cli {
namespace {

using base::Result;

constexpr std::int64_t longest_ns = 86'400 * base::ns_per_s;

struct PlanOptions {
  std::string bundle;
  bool live = false;
  std::string length = "20s";
  bool json = false;
};

Result<std::string> bundle_for(const PlanOptions& options) {
  if (!options.live) {
    if (options.bundle.empty()) {
      return base::Error{"plan", "", "neither a bundle nor --live is given",
                         "Name a .stall file that diagnose made, or use --live."};
    }
    return options.bundle;
  }
  const Result<std::int64_t> length_ns = base::parse_duration("--for", options.length, base::ns_per_s, longest_ns);
  if (!length_ns) {
    return length_ns.error();
  }
  RecordOptions record_options;
  record_options.duration_ns = *length_ns;
  const InterruptGuard guard;
  const Result<RecordOutcome> outcome = record(record_options, {});
  if (!outcome) {
    base::Error error = outcome.error();
    error.hint += " A plan for a bundle needs no privileges: stallscope remedy plan FILE.stall";
    return error;
  }
  return outcome->bundle_path;
}

int run_plan(const PlanOptions& options) {
  const Result<std::string> path = bundle_for(options);
  if (!path) {
    print_error(path.error());
    return exit_error;
  }
  const Result<evidence::Evidence> evidence = evidence::read_bundle(*path);
  if (!evidence) {
    print_error(evidence.error());
    return exit_error;
  }
  const remedy::Plan plan = remedy::make_plan(*evidence, diagnose::diagnose(*evidence));
  print_out(options.json ? remedy::plan_json(plan) : remedy::plan_text(plan));
  return plan.findings.empty() ? exit_clean : exit_findings;
}

void add_plan(CLI::App& remedy, int& exit_status) {
  CLI::App* const command =
      remedy.add_subcommand("plan", "What can be done about each finding: gentlest first, with risk, undo and check");
  const auto options = std::make_shared<PlanOptions>();
  CLI::Option* const bundle = command->add_option("bundle", options->bundle, "A .stall file made by diagnose");
  CLI::Option* const live =
      command->add_flag("--live", options->live, "Watch this node first, and plan for what is found")->excludes(bundle);
  command->add_option("--for", options->length, "Watch for so long")->needs(live)->capture_default_str();
  command->add_flag("--json", options->json, "Print JSON (docs/json.md describes it)");
  command->footer(
      "Exit status: 0 nothing to do, 1 there are findings, 2 an error.\n"
      "\n"
      "EXAMPLES\n"
      "  stallscope remedy plan node.stall\n"
      "      Options for what a recording found; needs no privileges and asks no kernel.\n"
      "  sudo stallscope remedy plan --live --for 30s\n"
      "      The same for what happens on this node now.");
  command->callback([options, &exit_status] { exit_status = run_plan(*options); });
}

struct ApplyTexts {
  std::string interval = "1ms";
  std::string allowed = "5ms";
  std::string stop_at = "100ms";
  std::string budget = "10m";
  std::string hold = "1m";
  std::string measure;
  std::int32_t cpu = -1;
};

/// Parses a duration into `to`; prints what is wrong.
bool parse(std::string_view option, const std::string& text, std::int64_t minimum_ns, std::int64_t& to) {
  const Result<std::int64_t> value = base::parse_duration(option, text, minimum_ns, longest_ns);
  if (!value) {
    print_error(value.error());
    return false;
  }
  to = *value;
  return true;
}

int run_apply(ApplyOptions options, const ApplyTexts& texts) {
  constexpr std::int64_t fastest_ns = 100 * base::ns_per_us;
  const bool understood = parse("--interval", texts.interval, fastest_ns, options.watch.interval_ns) &&
                          parse("--max-added", texts.allowed, fastest_ns, options.allowed_ns) &&
                          parse("--stop-at", texts.stop_at, fastest_ns, options.stop_at_ns) &&
                          parse("--budget", texts.budget, base::ns_per_s, options.budget_ns) &&
                          parse("--for", texts.hold, base::ns_per_s, options.hold_ns) &&
                          (texts.measure.empty() || parse("--measure", texts.measure, base::ns_per_s, options.measure_ns));
  if (!understood) {
    return exit_error;
  }
  options.watch.cpu = texts.cpu >= 0 ? texts.cpu : ::sched_getcpu();
  return apply_remedy(options);
}

void add_apply(CLI::App& remedy, int& exit_status) {
  CLI::App* const command =
      remedy.add_subcommand("apply", "Carry out one option in small steps, while probes watch what packets feel");
  const auto options = std::make_shared<ApplyOptions>();
  const auto texts = std::make_shared<ApplyTexts>();
  constexpr int most_files = 512;
  command
      ->add_option("option", options->request.option,
                   "stop-reader, drop-file-cache, punch-file, remove-file, reclaim or drop-caches; `remedy plan` says which")
      ->required();
  command->add_option("--file", options->request.files, "A file that it may act on; can be given several times")
      ->expected(1, most_files);
  command->add_option("--cgroup", options->request.cgroup, "The directory of the cgroup to reclaim from");
  command->add_option("--pid", options->request.pid, "The process to stop");
  command->add_flag("--accept-stall", options->request.accept_stall, "Allow drop-caches, which stalls packets itself");
  command->add_flag("--go", options->go, "Do it; without, only say what would be done");
  command->add_option("--for", texts->hold, "How long stop-reader keeps it stopped")->capture_default_str();
  command->add_option("--max-added", texts->allowed, "What a step may add to a packet's time; beyond it steps get smaller")
      ->capture_default_str();
  command->add_option("--stop-at", texts->stop_at, "Give up when a packet waits for so much longer")->capture_default_str();
  command->add_option("--budget", texts->budget, "Give up after this time; what is left can be applied again")
      ->capture_default_str();
  command->add_option("--steps", options->budget_steps, "Give up after so many steps")->check(CLI::Range(1, 1'000'000));
  command->add_option("--measure", texts->measure, "Record for so long before and after, keep both bundles and compare them");
  command->add_option("--directory", options->directory, "Where the two bundles go")->capture_default_str();
  command->add_option("--target", options->watch.target, "Probe this host meanwhile")->capture_default_str();
  command->add_option("--netns", options->watch.netns, "Probe from this network namespace");
  command->add_option("--interval", texts->interval, "Time between two probes")->capture_default_str();
  command->add_option("--cpu", texts->cpu, "Work on this CPU and probe from it; else the one it runs on")
      ->check(CLI::Range(0, 65'535));
  command->footer(
      "It touches no file, cgroup or process that is not named. What it does, and how to undo it, is written to\n"
      "/run/stallscope-remedy/journal; only one can be at work. Killed in the middle it leaves nothing half done: apply it again "
      "for the rest.\n"
      "Exit status: 0 done and no packet held up longer than allowed, 1 held up longer or not finished, 2 an error.\n"
      "\n"
      "EXAMPLES\n"
      "  stallscope remedy apply drop-file-cache --file /var/log/journal/big.journal\n"
      "      What would be done.\n"
      "  sudo stallscope remedy apply drop-file-cache --file /var/log/journal/big.journal --go\n"
      "      Let go of the zombies it pins; its content stays.\n"
      "  sudo stallscope remedy apply stop-reader --pid 4121 --for 10m --measure 10s --go\n"
      "      Stop a reader of memory.stat, and prove that the stalls were its.");
  command->callback([options, texts, &exit_status] { exit_status = run_apply(*options, *texts); });
}

}  // namespace

void add_remedy_command(CLI::App& app, int& exit_status) {
  CLI::App* const remedy = app.add_subcommand("remedy", "Options for what was found, and carrying one out without hurting packets");
  remedy->require_subcommand(1);
  remedy->footer(
      "EXAMPLES\n"
      "  stallscope remedy plan node.stall\n"
      "  sudo stallscope remedy apply drop-file-cache --file /var/cache/app/data --go");
  add_plan(*remedy, exit_status);
  add_apply(*remedy, exit_status);
}

}  // namespace stallscope::cli
