// SPDX-License-Identifier: Apache-2.0
#include "cli/lab_zombies_command.h"

#include <fmt/format.h>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "census/memcg_counts.h"
#include "census/memory_summary.h"
#include "cli/lab_run_command.h"
#include "cli/lab_zombies_output.h"
#include "cli/terminal.h"
#include "host/mounts.h"
#include "lab/session.h"
#include "lab/stop_signals.h"
#include "lab/zombie_run.h"
#include "lab/zombies.h"

namespace stallscope::cli {
namespace {

using base::Result;
using base::Status;

struct Options {
  int count = 10'000;
  std::string pin = "tmpfs";
  bool hold = false;
  bool json = false;
};

std::string_view stage_name(lab::ZombieStage stage) {
  switch (stage) {
    case lab::ZombieStage::before:
      return "before";
    case lab::ZombieStage::made:
      return "created";
    case lab::ZombieStage::removed:
      return "removed";
    case lab::ZombieStage::cleaned:
      return "cleaned up";
  }
  return "";
}

Result<ZombieAccount> look(lab::ZombieStage stage) {
  const Result<std::vector<host::Mount>> mounts = host::read_mounts();
  if (!mounts) {
    return mounts.error();
  }
  // The lab may read /proc/slabinfo where that holds interrupts off: it is there to do such things.
  return account_zombies(stage_name(stage), census::count_memcgs("", *mounts),
                         census::summarize_memory("", true, std::numeric_limits<std::size_t>::max()));
}

Status show(const Options& options) {
  Result<lab::StopSignals> stop = lab::StopSignals::block();
  if (!stop) {
    return stop.error();
  }
  const lab::ZombieShow order{*lab::parse_pin_kind(options.pin), options.count, options.hold};
  ZombieReport report;
  report.pin = options.pin;
  report.count = options.count;
  const auto at_stage = [&](lab::ZombieStage stage, const lab::ZombiePlaces& places) -> Status {
    const Result<ZombieAccount> account = look(stage);
    if (!account) {
      return account.error();
    }
    report.pin_path = places.pins.path;
    report.stages.push_back(*account);
    if (options.json) {
      print_out(zombies_stage_json(*account));
    } else if (options.hold && stage == lab::ZombieStage::removed) {
      print_out(zombies_text(report) + "\n");
    }
    return finish_output();
  };
  Status shown = lab::with_lab(tell_lab_progress, [&] { return lab::show_zombies(order, *stop, tell_lab_progress, at_stage); });
  if (!shown) {
    return shown;
  }
  print_out(options.json ? zombies_end_json(report) : zombies_text(report));
  return finish_output();
}

}  // namespace

void add_lab_zombies(CLI::App& lab, int& exit_status) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command =
      lab.add_subcommand("zombies", "Make memory cgroups that outlive their directories, and show what that takes of the machine");
  command->add_option("--count", options->count, "How many")->check(CLI::Range(1, lab::max_zombies_count))->capture_default_str();
  command
      ->add_option(
          "--pin", options->pin,
          "What is charged to each and pins it: tmpfs, a page of a file in memory; page-cache, a page of a file on a disk; "
          "dentries, a cached name (before Linux 5.9); swap, a page that is swapped out")
      ->check(CLI::IsMember(std::vector<std::string>(lab::pin_names.begin(), lab::pin_names.end())))
      ->capture_default_str();
  command->add_flag("--hold", options->hold, "Keep them until Ctrl-C, so that census and remedy can be tried");
  command->add_flag("--json", options->json, "Print JSON lines, one at each stage (docs/json.md)");
  command->footer(
      "Makes that many memory cgroups, charges something to each, removes their directories, and cleans up. Counts memory, slab "
      "and\n"
      "memory cgroups before, after each step and at the end. Refuses what the machine has no room for. Whatever ends it, all it "
      "made\n"
      "is removed; after a SIGKILL, by the next lab or by `stallscope lab down`.\n"
      "\n"
      "EXAMPLES\n"
      "  sudo stallscope lab zombies\n"
      "      What 10,000 of them take.\n"
      "  sudo stallscope lab zombies --count 50000 --hold\n"
      "      Keep them; look with `stallscope census` from a second terminal.\n"
      "  sudo stallscope lab zombies --pin page-cache --hold\n"
      "      And let go of them: stallscope remedy apply drop-file-cache --file /var/tmp/stallscope-lab-pins");
  command->callback([options, &exit_status] { exit_status = report_lab(show(*options)); });
}

}  // namespace stallscope::cli
