// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/memcg-stat-flush/fault.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>

#include "base/clock.h"
#include "base/units.h"
#include "host/mounts.h"
#include "lab/culprit.h"
#include "lab/faults/memcg-stat-flush/reader.h"
#include "lab/memory_hierarchy.h"
#include "lab/pin_file.h"
#include "lab/zombies.h"

namespace stallscope::lab::memcg_stat_flush {
namespace {

using base::Error;
using base::Result;
using base::Status;

constexpr std::array<Parameter, 1> parameters = {{
    {.name = "zombies",
     .help = "Zombie memory cgroups; each adds about 2 us to a stall",
     .kind = ParameterKind::count,
     .default_value = 50'000,
     .minimum = 1,
     .maximum = max_zombies_count,
     .reason_for_bounds = "A memory cgroup ID has 16 bits, and the machine needs some of them."},
}};

struct Places {
  MemoryHierarchy hierarchy;
  std::string pin_path;
};

Result<Places> find_places() {
  const Result<MemoryHierarchy> hierarchy = find_memory_hierarchy();
  if (!hierarchy) {
    return hierarchy.error();
  }
  const Result<std::vector<host::Mount>> mounts = host::read_mounts();
  if (!mounts) {
    return mounts.error();
  }
  const Result<std::string> pin_path = choose_pin_path(*mounts);
  if (!pin_path) {
    return pin_path.error();
  }
  return Places{*hierarchy, *pin_path};
}

/// Zombies that did not stay make a shorter stall than was asked for, so that the ground truth would be wrong.
Result<std::int64_t> count_after_making(const MemoryHierarchy& hierarchy, std::int64_t before_count, int zombies_count) {
  const Result<std::int64_t> total = count_memory_cgroups(hierarchy);
  if (!total) {
    return total.error();
  }
  const std::int64_t stayed_count = *total - before_count;
  if (stayed_count < static_cast<std::int64_t>(zombies_count) * 99 / 100) {
    return Error{
        "make zombies", "",
        fmt::format("the kernel kept {} of {}: the pages of the tmpfs are not charged one by one", stayed_count, zombies_count),
        "host::Mount the tmpfs without huge pages (huge=never)."};
  }
  return *total;
}

void tell_removal(const ZombieRemoval& removal, const Progress& progress) {
  if (removal.lingering_count > 0) {
    progress(fmt::format("removed the zombies, but the kernel still counts {} memory cgroups more than before",
                         base::format_count(removal.lingering_count)));
  } else if (removal.found) {
    progress(fmt::format("removed {} zombies; the kernel's count is back", base::format_count(removal.zombies_count)));
  }
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  const Result<Places> places = find_places();
  if (!places) {
    return places.error();
  }
  const MemoryHierarchy& hierarchy = places->hierarchy;
  const auto zombies_count = static_cast<int>(options.settings.value(parameters[0]));
  const Result<std::int64_t> before = count_memory_cgroups(hierarchy);
  if (!before) {
    return before.error();
  }
  const std::int64_t start_ns = base::monotonic_ns();
  Result<ZombieSet> zombies = ZombieSet::make(hierarchy, places->pin_path, zombies_count, stop, output.progress);
  if (!zombies) {
    return zombies.error();
  }
  output.progress(fmt::format("made {} zombies in {}", base::format_count(zombies_count),
                              base::format_duration(base::monotonic_ns() - start_ns)));
  const Result<std::int64_t> total = count_after_making(hierarchy, *before, zombies_count);
  if (!total) {
    return total.error();
  }
  const ReaderPlan plan{.stat_path = hierarchy.lab_cgroup() + "/memory.stat",
                        .pin_path = places->pin_path,
                        .zombies_count = zombies_count,
                        .kernel_total_count = *total,
                        .period_ns = options.period_ns,
                        .healthy = options.healthy};
  Status ran = run_culprit(
      {.fault = fault,
       .options = options,
       .comm = "lab-reader",
       .syscall = "read",
       .file = plan.stat_path,
       .cgroup_path = hierarchy.reader_cgroup(),
       .control_type = "control-read",
       .count_name = "reads"},
      [&] { return prepare_reader(plan); }, stop, output);
  const Result<ZombieRemoval> removal = zombies->remove();
  if (!ran) {
    return ran;
  }
  if (!removal) {
    return removal.error();
  }
  tell_removal(*removal, output.progress);
  return base::ok();
}

Result<bool> remove_leftovers(const Progress& progress) {
  const Result<Places> places = find_places();
  if (!places) {
    return places.error();
  }
  const Result<ZombieRemoval> removal = remove_zombies(places->hierarchy, places->pin_path);
  if (!removal) {
    return removal.error();
  }
  tell_removal(*removal, progress);
  return removal->found;
}

/// About 2 us per zombie.
Settings settings_for(std::int64_t length_ns) {
  constexpr std::int64_t per_zombie_ns = 2 * base::ns_per_us;
  return {{"zombies", std::min<std::int64_t>(length_ns / per_zombie_ns, max_zombies_count)}};
}

}  // namespace

constexpr Fault fault = {
    .id = "memcg-stat-flush",
    .summary = "reads of memory.stat flush thousands of zombie memory cgroups with hard IRQs off",
    .expected_rule = "memcg-stat-flush",
    .expected_mode = "hard_irqs_off",
    .healthy_help = "the same zombies and reads, with nothing to flush",
    .parameters = parameters,
    .settings_for = settings_for,
    .run = run,
    .remove_leftovers = remove_leftovers,
};

}  // namespace stallscope::lab::memcg_stat_flush
