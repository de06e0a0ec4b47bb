// SPDX-License-Identifier: Apache-2.0
#include "lab/zombie_run.h"

#include <fmt/format.h>

#include <limits>
#include <vector>

#include "base/clock.h"
#include "base/units.h"
#include "host/mounts.h"
#include "lab/wait_for.h"
#include "lab/zombie_room.h"
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

/// What nothing pins is freed by workers, after a grace period of RCU and more.
void wait_until_settled(const MemoryHierarchy& hierarchy) {
  constexpr std::int64_t bound_ns = 30 * base::ns_per_s;
  constexpr int enough_looks = 60;
  std::int64_t last = -1;
  int same = 0;
  wait_for(bound_ns, [&] {
    const Result<std::int64_t> count = count_memory_cgroups(hierarchy);
    same = count && *count == last ? same + 1 : 0;
    last = count ? *count : last;
    return !count || same >= enough_looks;
  });
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

Result<ZombiePlaces> find_zombie_places(PinKind kind) {
  const Result<MemoryHierarchy> hierarchy = find_memory_hierarchy();
  if (!hierarchy) {
    return hierarchy.error();
  }
  const Result<std::vector<host::Mount>> mounts = host::read_mounts();
  if (!mounts) {
    return mounts.error();
  }
  const Result<PinPlace> pins = choose_pin_place(kind, *mounts);
  if (!pins) {
    return pins.error();
  }
  return ZombiePlaces{*hierarchy, *pins};
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
  Result<ZombieSet> zombies =
      ZombieSet::make(places->hierarchy, places->pins, zombies_count, ZombieSet::Directories::remove, stop, progress);
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

Status show_zombies(const ZombieShow& show, StopSignals& stop, const Progress& progress,
                    const std::function<Status(ZombieStage, const ZombiePlaces&)>& look) {
  const Result<ZombiePlaces> places = find_zombie_places(show.pin);
  if (!places) {
    return places.error();
  }
  const Result<ZombieRoom> room = read_zombie_room(*places);
  if (!room) {
    return room.error();
  }
  if (Status fits = check_zombie_room(show.zombies_count, show.pin, *room); !fits) {
    return fits;
  }
  if (Status looked = look(ZombieStage::before, *places); !looked) {
    return looked;
  }
  Result<ZombieSet> zombies =
      ZombieSet::make(places->hierarchy, places->pins, show.zombies_count, ZombieSet::Directories::keep, stop, progress);
  if (!zombies) {
    return zombies.error();
  }
  Status shown = look(ZombieStage::made, *places);
  if (shown) {
    shown = zombies->remove_directories(stop, progress);
  }
  if (shown) {
    wait_until_settled(places->hierarchy);
    shown = look(ZombieStage::removed, *places);
  }
  if (shown && show.hold) {
    progress("holding them until Ctrl-C; look at them from another terminal: stallscope census");
    while (!stop.wait_until(std::numeric_limits<std::int64_t>::max())) {
    }
  }
  const Result<ZombieRemoval> removal = zombies->remove();
  if (!shown) {
    return shown;
  }
  if (!removal) {
    return removal.error();
  }
  tell_removal(*removal, progress);
  wait_until_settled(places->hierarchy);
  return look(ZombieStage::cleaned, *places);
}

Result<bool> remove_leftover_zombies(const Progress& progress) {
  const Result<MemoryHierarchy> hierarchy = find_memory_hierarchy();
  const Result<std::vector<host::Mount>> mounts = host::read_mounts();
  if (!hierarchy || !mounts) {
    return hierarchy ? mounts.error() : hierarchy.error();
  }
  std::vector<PinPlace> places = find_left_pins(*mounts);
  if (places.empty()) {
    // There may be cgroups all the same.
    places.emplace_back();
  }
  bool found = false;
  for (const PinPlace& place : places) {
    const Result<ZombieRemoval> removal = remove_zombies(*hierarchy, place);
    if (!removal) {
      return removal.error();
    }
    tell_removal(*removal, progress);
    found = found || removal->found;
  }
  return found;
}

}  // namespace stallscope::lab
