// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/units.h"
#include "census/census.h"
#include "cli/census_text.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"

namespace stallscope::cli {
namespace {

constexpr std::int64_t shortest_watch_ns = 100 * base::ns_per_ms;
constexpr std::int64_t longest_watch_ns = 3'600 * base::ns_per_s;
/// Enough points for a curve; more reads would be a load of their own.
constexpr std::size_t cost_cgroups = 16;
/// In --json, where --rows does not count.
constexpr std::size_t cached_files = 100;

struct Options {
  bool json = false;
  bool csv = false;
  bool each = false;
  bool cost = false;
  bool slabinfo = false;
  std::size_t rows = 10;
  std::string watch;
  std::int64_t times = 0;
};

census::CensusOptions census_options(const Options& options) {
  census::CensusOptions census;
  census.read_cost = options.cost;
  census.cost_limit = cost_cgroups;
  census.slabinfo_anyway = options.slabinfo;
  // Growth is not seen by looking at every inode again and again.
  census.cached_file_limit = options.watch.empty() ? std::max(options.rows, cached_files) : 0;
  census.name_limit = std::numeric_limits<std::size_t>::max();
  return census;
}

void print_once(const Options& options) {
  const census::CensusResult result = census::take_census(census_options(options));
  if (options.json) {
    print_out(census_json(result, options.each, false));
  } else if (options.csv) {
    print_out(census_csv(result));
  } else {
    print_out(census_text(result, {options.rows, options.each}));
  }
}

/// Sleeps in pieces, so that Ctrl-C ends it soon.
void sleep_until(std::int64_t until_ns) {
  constexpr std::int64_t piece_ns = 100 * base::ns_per_ms;
  for (std::int64_t left_ns = until_ns - base::monotonic_ns(); left_ns > 0 && !InterruptGuard::requested();
       left_ns = until_ns - base::monotonic_ns()) {
    std::this_thread::sleep_for(std::chrono::nanoseconds(std::min(left_ns, piece_ns)));
  }
}

void watch(const Options& options, std::int64_t interval_ns) {
  const InterruptGuard guard;
  std::optional<census::CensusResult> before;
  if (!options.json) {
    print_out(census_watch_heading());
  }
  for (std::int64_t i = 0; (options.times == 0 || i < options.times) && !InterruptGuard::requested(); ++i) {
    const std::int64_t start_ns = base::monotonic_ns();
    census::CensusResult now = census::take_census(census_options(options));
    print_out(options.json ? census_json(now, options.each, true) : census_watch_line(before ? &*before : nullptr, now));
    if (!finish_output()) {
      return;
    }
    before = std::move(now);
    if (options.times == 0 || i + 1 < options.times) {
      sleep_until(start_ns + interval_ns);
    }
  }
}

int run_census(const Options& options) {
  if (options.watch.empty()) {
    print_once(options);
    return exit_clean;
  }
  const base::Result<std::int64_t> interval_ns =
      base::parse_duration("--watch", options.watch, shortest_watch_ns, longest_watch_ns);
  if (!interval_ns) {
    print_error(interval_ns.error());
    return exit_error;
  }
  watch(options, *interval_ns);
  return exit_clean;
}

}  // namespace

void add_census_command(CLI::App& app, int& exit_status) {
  CLI::App* const command = app.add_subcommand(
      "census", "Every memory cgroup, live and dying: what pins it, what it is charged; memory, slab and the cost of memory.stat");
  const auto options = std::make_shared<Options>();
  CLI::Option* const json = command->add_flag("--json", options->json, "Print one JSON object (docs/json.md)");
  CLI::Option* const csv =
      command->add_flag("--csv", options->csv, "Print one line of comma-separated values for each memory cgroup")->excludes(json);
  command->add_flag("--each", options->each, "List each memory cgroup, not only what they have in common")->excludes(csv);
  command->add_option("--rows", options->rows, "Rows of each table of the text")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  command->add_flag("--cost", options->cost,
                    "Time reads of memory.stat, of the cgroups with the most dying ones below. Where a read is slow, it holds "
                    "interrupts off for as long");
  command->add_flag("--slabinfo", options->slabinfo,
                    "Read /proc/slabinfo also on kernels before 6.10, where that holds interrupts off");
  CLI::Option* const watch_option =
      command->add_option("--watch", options->watch, "Look again after this time (2s), a line each, until Ctrl-C")->excludes(csv);
  command->add_option("--times", options->times, "End after so many looks")->check(CLI::Range(1, 1'000'000))->needs(watch_option);
  command->footer(
      "Takes memory cgroups a few hundred at a time, so that it keeps packets waiting for less than 1 ms, and says for how long it "
      "did.\n"
      "Without privileges it shows the kernel's own counts, and what it could not see.\n"
      "\n"
      "EXAMPLES\n"
      "  sudo stallscope census\n"
      "      What keeps dying memory cgroups in memory.\n"
      "  sudo stallscope census --cost\n"
      "      And what reading their statistics costs: that can itself stall packets.\n"
      "  sudo stallscope census --csv > memcgs.csv\n"
      "      Every memory cgroup, dying ones by their former paths.\n"
      "  sudo stallscope census --watch 2s\n"
      "      How zombies, slab and negative dentries grow.\n"
      "  stallscope census --json\n"
      "      What can be had without privileges, for a program.");
  command->callback([options, &exit_status] { exit_status = run_census(*options); });
}

}  // namespace stallscope::cli
