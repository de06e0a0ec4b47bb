// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "evidence/records.h"
#include "remedy/plan.h"

// Each option by itself: its words, commands, effect, risk and undo. Figures that are not cited were measured on Linux 6.18 with
// two CPUs, cgroup v1 memory, HZ 250 and 60,000 zombies (docs/benchmarks.md, docs/remedies.md).
namespace stallscope::remedy {

/// A process that stalls a CPU by what it reads.
struct Reader {
  std::int32_t pid = 0;
  std::string comm;
  /// As the kernel names it: inside its file system.
  std::string file;
  /// Median distance of its stalls; 0: too few to say.
  std::int64_t interval_ns = 0;
  std::int64_t stall_count = 0;
};

[[nodiscard]] Option stop_reader(const Reader& reader);
[[nodiscard]] Option slow_reader(const Reader& reader);
/// By dropping clean pages where the file is on a disk, by giving up its content where it is in memory.
[[nodiscard]] Option release_file(const evidence::PinningFileRecord& file);
[[nodiscard]] Option reclaim_from_ancestor(std::int32_t cgroup_version);
[[nodiscard]] Option reclaim_before_removal(std::int32_t cgroup_version);
[[nodiscard]] Option drop_caches(bool pinned_by_memory);
[[nodiscard]] Option drain_node();
/// Nothing where no later kernel is known to help.
[[nodiscard]] std::optional<Option> newer_kernel(const std::string& rule_id, const std::string& release);
[[nodiscard]] Option move_receive_off_cpu(std::int32_t cpu, std::int32_t cpu_count, const std::string& device);
[[nodiscard]] Option raise_napi_budget();
[[nodiscard]] Option lengthen_backlog();
[[nodiscard]] Option thread_napi(const std::string& device);

}  // namespace stallscope::remedy
