// SPDX-License-Identifier: Apache-2.0
#include "lab/zombie_run.h"

#include <fmt/format.h>

#include <vector>

#include "base/clock.h"
#include "base/units.h"
#include "host/mounts.h"
#include "lab/pin_file.h"
#include "lab/zombies.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::Result;
using base::Status;

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
        "Mount the tmpfs without huge pages (huge=never)."};
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

}  // namespace

Result<ZombiePlaces> find_zombie_places() {
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
  return ZombiePlaces{*hierarchy, *pin_path};
}

Status with_zombies(int zombies_count, StopSignals& stop, const Progress& progress,
                    const std::function<Status(const ZombiePlaces&, std::int64_t total_count)>& body) {
  const Result<ZombiePlaces> places = find_zombie_places();
  if (!places) {
    return places.error();
  }
  const Result<std::int64_t> before = count_memory_cgroups(places->hierarchy);
  if (!before) {
    return before.error();
  }
  const std::int64_t start_ns = base::monotonic_ns();
  Result<ZombieSet> zombies = ZombieSet::make(places->hierarchy, places->pin_path, zombies_count, stop, progress);
  if (!zombies) {
    return zombies.error();
  }
  progress(fmt::format("made {} zombies in {}", base::format_count(zombies_count),
                       base::format_duration(base::monotonic_ns() - start_ns)));
  const Result<std::int64_t> total = count_after_making(places->hierarchy, *before, zombies_count);
  if (!total) {
    return total.error();
  }
  Status ran = body(*places, *total);
  const Result<ZombieRemoval> removal = zombies->remove();
  if (!ran) {
    return ran;
  }
  if (!removal) {
    return removal.error();
  }
  tell_removal(*removal, progress);
  return base::ok();
}

Result<bool> remove_leftover_zombies(const Progress& progress) {
  const Result<ZombiePlaces> places = find_zombie_places();
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

}  // namespace stallscope::lab
