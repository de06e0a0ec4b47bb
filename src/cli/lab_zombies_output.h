// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "census/memcg_counts.h"
#include "census/memory_summary.h"

namespace stallscope::cli {

/// What is counted of the machine at each stage of `lab zombies`; none: not known.
struct ZombieAccount {
  enum Row : std::size_t {
    total_memcgs,
    visible_memcgs,
    dying_memcgs,
    free_memory,
    available_memory,
    swap_used,
    slab,
    slab_reclaimable,
    dentry_cache,
    inode_caches,
    memcg_caches,
    per_cpu_memory,
    dentries,
    inodes,
    row_count
  };

  std::string_view stage;
  std::array<std::optional<std::int64_t>, row_count> rows;

  [[nodiscard]] std::optional<std::int64_t> operator[](Row row) const { return rows[row]; }
};

[[nodiscard]] ZombieAccount account_zombies(std::string_view stage, const census::MemcgCounts& memcgs,
                                            const census::MemorySummary& memory);

struct ZombieReport {
  std::string_view pin;
  std::string pin_path;
  std::int64_t count = 0;
  /// Before, made, removed, cleaned, as far as they have come.
  std::vector<ZombieAccount> stages;
};

/// How many memory cgroups stayed when their directories were removed, and what each of them takes of slab and per-CPU memory;
/// none: not known, or too few stayed. Free memory would not tell: the page cache of others comes and goes in it.
[[nodiscard]] std::optional<std::int64_t> stayed_count(const ZombieReport& report);
[[nodiscard]] std::optional<std::int64_t> kernel_bytes_per_zombie(const ZombieReport& report);

/// A column for each stage, and what they say.
[[nodiscard]] std::string zombies_text(const ZombieReport& report);
/// One line each (docs/json.md): of a stage when it has come, of the whole at the end.
[[nodiscard]] std::string zombies_stage_json(const ZombieAccount& account);
[[nodiscard]] std::string zombies_end_json(const ZombieReport& report);

}  // namespace stallscope::cli
