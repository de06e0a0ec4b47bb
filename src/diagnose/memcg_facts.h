// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "evidence/records.h"

namespace stallscope::diagnose {

/// How many memory cgroups there are, and how many of them are dying (removed, but kept in memory by what is charged to them).
struct MemcgCounts {
  std::optional<std::int64_t> total;
  std::optional<std::int64_t> dying;
};

/// The kernel's own numbers where it has them: dying is nr_dying_descendants, or what /proc/cgroups counts beyond the directories
/// that exist; else what walking the tree found.
[[nodiscard]] MemcgCounts memcg_counts(const evidence::Evidence& evidence);

}  // namespace stallscope::diagnose
