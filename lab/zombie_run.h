// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "lab/memory_hierarchy.h"
#include "lab/progress.h"
#include "lab/stop_signals.h"

// What faults share that need many zombies: where to make them, telling of it, and removing them.
namespace stallscope::lab {

struct ZombiePlaces {
  MemoryHierarchy hierarchy;
  std::string pin_path;
};

[[nodiscard]] base::Result<ZombiePlaces> find_zombie_places();

/// Makes `zombies_count` zombies, calls `body` with where they are and how many memory cgroups the kernel counts then, and removes
/// them whatever came of it. An error where the kernel does not keep them.
[[nodiscard]] base::Status with_zombies(int zombies_count, StopSignals& stop, const Progress& progress,
                                        const std::function<base::Status(const ZombiePlaces&, std::int64_t total_count)>& body);

/// Removes those of a killed run; says whether there were any.
[[nodiscard]] base::Result<bool> remove_leftover_zombies(const Progress& progress);

}  // namespace stallscope::lab
