// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/result.h"
#include "lab/pins.h"
#include "lab/zombie_run.h"

namespace stallscope::lab {

/// What making zombies takes away from the machine.
struct ZombieRoom {
  /// Live and dying, by the kernel's count.
  std::int64_t memcg_count = 0;
  std::int64_t available_bytes = 0;
  std::int64_t cpu_count = 1;
  /// Free in the file system of what pins.
  std::int64_t place_bytes = 0;
  /// Swap there is, and how much of it is free.
  std::int64_t swap_bytes = 0;
  std::int64_t free_swap_bytes = 0;
};

[[nodiscard]] base::Result<ZombieRoom> read_zombie_room(const ZombiePlaces& places);

/// An error that says what is too small, and for how many it is enough.
[[nodiscard]] base::Status check_zombie_room(int zombies_count, PinKind kind, const ZombieRoom& room);

}  // namespace stallscope::lab
