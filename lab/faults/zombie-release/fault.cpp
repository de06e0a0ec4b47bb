// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/zombie-release/fault.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/clock.h"
#include "base/units.h"
#include "lab/culprit.h"
#include "lab/wait_for.h"
#include "lab/zombie_run.h"
#include "lab/zombies.h"

namespace stallscope::lab::zombie_release {
namespace {

using base::Result;
using base::Status;

constexpr std::array<Parameter, 1> parameters = {{
    {.name = "zombies",
     .help = "Zombie memory cgroups made before each turn; each adds about 0.2 us to each of its stalls",
     .default_value = 50'000,
     .minimum = 1,
     .maximum = max_zombies_count,
     .reason_for_bounds = "A memory cgroup ID has 16 bits, and the machine needs some of them."},
}};

/// The control cuts as many at a time as makes no stall.
constexpr std::int64_t healthy_step_pages = 500;

Status wait_until_released(const ZombiePlaces& places, std::int64_t expected_count) {
  constexpr std::int64_t bound_ns = 10 * base::ns_per_s;
  // Some that others made meanwhile, or whose page lies in a batch of another CPU.
  constexpr std::int64_t tolerated_count = 100;
  Result<std::int64_t> count = expected_count;
  wait_for(bound_ns, [&] {
    count = count_memory_cgroups(places.hierarchy);
    return !count || *count <= expected_count + tolerated_count;
  });
  return count ? base::ok() : Status(count.error());
}

Result<Stall> release(const ZombiePlaces& places, std::int64_t step_pages) {
  const Result<std::optional<Pins>> pins = Pins::open(places.pins);
  const Result<std::int64_t> before = count_memory_cgroups(places.hierarchy);
  if (!pins || !before) {
    return pins ? before.error() : pins.error();
  }
  Stall stall;
  stall.start_ns = base::monotonic_ns();
  for (std::int64_t expected_count = *before; *pins;) {
    const Result<std::optional<std::int64_t>> taken = (*pins)->release(step_pages);
    if (!taken) {
      return taken.error();
    }
    if (!*taken) {
      break;
    }
    expected_count -= **taken;
    if (Status released = wait_until_released(places, expected_count); !released) {
      return released.error();
    }
  }
  stall.end_ns = base::monotonic_ns();
  return stall;
}

/// Makes the zombies and lets go of them. The cut returns soon: what holds the CPU, again and again until all are gone, is a
/// worker of the kernel's on the same CPU.
Result<Turn> take_turn(const ZombiePlaces& places, const RunOptions& options) {
  const auto zombies_count = static_cast<int>(options.settings.value(parameters[0]));
  bool stopped = false;
  Result<Stall> stall = Stall{};
  {
    Result<StopSignals> stop = StopSignals::block();
    if (!stop) {
      return stop.error();
    }
    Result<ZombieSet> zombies = ZombieSet::make(places.hierarchy, places.pins, zombies_count, ZombieSet::Directories::remove, *stop,
                                                [](std::string_view) {});
    if (!zombies && !stop->requested()) {
      return zombies.error();
    }
    stopped = stop->requested();
    if (zombies && !stopped) {
      stall = release(places, options.healthy ? healthy_step_pages : zombies_count);
    }
    if (zombies) {
      if (const Result<ZombieRemoval> removal = zombies->remove(); !removal) {
        return removal.error();
      }
    }
  }
  if (stopped) {
    return Turn{};
  }
  if (!stall) {
    return stall.error();
  }
  stall->extras = {
      {"pid", nullptr}, {"comm", fmt::format("kworker/{}", options.cpu)}, {"zombies", zombies_count}, {"frames_stalls", true}};
  return Turn{{*stall}};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  const Result<ZombiePlaces> places = find_zombie_places();
  if (!places) {
    return places.error();
  }
  return run_culprit(
      {.fault = fault, .options = options, .comm = "lab-releaser", .cgroup_path = "", .count_name = "releases"},
      [&]() -> Result<PreparedCulprit> {
        return PreparedCulprit{[places = *places, options] { return take_turn(places, options); }};
      },
      stop, output);
}

/// About 0.2 us per zombie, for each of the first hundreds that are let go.
Settings settings_for(std::int64_t length_ns) {
  constexpr std::int64_t per_zombie_ns = 200;
  return {{"zombies", std::min<std::int64_t>(length_ns / per_zombie_ns, max_zombies_count)}};
}

}  // namespace

constexpr Fault fault = {
    .id = "zombie-release",
    .summary = "a cut file lets go of thousands of zombie cgroups, which a worker frees with hard IRQs off",
    .expected_rule = "zombie-release",
    .expected_mode = "hard_irqs_off",
    .healthy_help = "the same zombies, let go 500 at a time",
    .parameters = parameters,
    .settings_for = settings_for,
    .turn_ns = 15 * base::ns_per_s,
    .stalls_while_preparing = true,
    .run = run,
    .remove_leftovers = remove_leftover_zombies,
};

}  // namespace stallscope::lab::zombie_release
