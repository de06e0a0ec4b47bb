// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "lab/culprit.h"
#include "lab/faults/fault.h"

namespace stallscope::lab::memcg_stat_flush {

struct ReaderPlan {
  std::string stat_path;
  std::string pin_path;
  int zombies_count = 0;
  std::int64_t kernel_total_count = 0;
  std::int64_t period_ns = 0;
  /// The control: the same reads, but no page is touched.
  bool healthy = false;
};

/// What the reader does once a period: touches the page of every zombie, which leaves one statistics update pending for each, then
/// reads memory.stat, which flushes them with hard IRQs off. Makes a few such reads to know how long one takes.
[[nodiscard]] base::Result<PreparedCulprit> prepare_reader(const ReaderPlan& plan);

/// As many zombies as make a read take so long at least, up to max_zombies_count: each takes 1 to 2 us, by the machine. With
/// fewer, 10 ms would be 5 ms on a fast one, too short to make any packet late.
[[nodiscard]] Settings zombies_for(std::int64_t read_ns);

}  // namespace stallscope::lab::memcg_stat_flush
