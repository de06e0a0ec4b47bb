// SPDX-License-Identifier: Apache-2.0
#include "cli/lab_zombies_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/units.h"

namespace stallscope::cli {
namespace {

using Json = nlohmann::json;
using Value = std::optional<std::int64_t>;

struct RowTitle {
  std::string_view text;
  std::string_view key;
  bool is_bytes;
};
constexpr std::array<RowTitle, ZombieAccount::row_count> titles = {{
    {"memory cgroups, the kernel's count", "kernel_total", false},
    {"  visible (directories)", "visible", false},
    {"  dying", "dying", false},
    {"free memory", "free_bytes", true},
    {"available memory", "available_bytes", true},
    {"swap used", "swap_used_bytes", true},
    {"slab", "slab_bytes", true},
    {"  reclaimable", "slab_reclaimable_bytes", true},
    {"  dentry cache", "dentry_cache_bytes", true},
    {"  inode caches", "inode_caches_bytes", true},
    {"  memory cgroup caches", "memcg_caches_bytes", true},
    {"per-CPU memory", "per_cpu_bytes", true},
    {"dentries", "dentries", false},
    {"inodes", "inodes", false},
}};
constexpr std::size_t title_width = 35;
constexpr std::size_t column_width = 11;

Value memory_row(const census::MemorySummary& memory, std::string_view name) {
  const auto row =
      std::find_if(memory.memory.begin(), memory.memory.end(), [&](const auto& record) { return record.name == name; });
  return row == memory.memory.end() ? std::nullopt : Value(row->bytes);
}

template <typename Matches>
Value slab_sum(const census::MemorySummary& memory, const Matches& matches) {
  if (memory.slabs.empty()) {
    return std::nullopt;
  }
  std::int64_t sum = 0;
  for (const evidence::SlabRecord& slab : memory.slabs) {
    sum += matches(slab.cache) ? slab.total_bytes : 0;
  }
  return sum;
}

Value difference(Value from, Value what) {
  return from && what ? Value(*from - *what) : std::nullopt;
}

/// In one unit, so that what some thousand zombies take of many GiB can be seen.
std::string cell(const RowTitle& title, Value value) {
  constexpr double bytes_per_mib = 1 << 20U;
  constexpr double whole_from = 100;
  if (!value) {
    return "unknown";
  }
  if (!title.is_bytes) {
    return base::format_count(*value);
  }
  const double mib = static_cast<double>(*value) / bytes_per_mib;
  return mib < whole_from ? fmt::format("{:.1f} MiB", mib) : base::format_count(std::llround(mib)) + " MiB";
}

const ZombieAccount* stage(const ZombieReport& report, std::size_t index) {
  return index < report.stages.size() ? &report.stages[index] : nullptr;
}
enum StageIndex : std::size_t { before = 0, removed = 2, cleaned = 3 };

std::string verdict_text(const ZombieReport& report) {
  const Value stayed = stayed_count(report);
  if (!stayed) {
    return "";
  }
  std::string text = fmt::format("\n{} of {} stayed when their directories were removed", base::format_count(*stayed),
                                 base::format_count(report.count));
  if (*stayed == 0) {
    return text + ": on this kernel " + std::string(report.pin) + " pin none.\n";
  }
  text += fmt::format(": {} pins them", base::printable(report.pin_path));
  if (const Value bytes = kernel_bytes_per_zombie(report)) {
    text += fmt::format(", and each takes {} of slab and per-CPU memory besides", base::format_bytes(*bytes));
  }
  text += ".\n";
  if (const ZombieAccount* end = stage(report, cleaned)) {
    const Value left = difference((*end)[ZombieAccount::total_memcgs], report.stages.front()[ZombieAccount::total_memcgs]);
    text += left && *left > 0
                ? fmt::format("{} more memory cgroups are left than before; others make them, too.\n", base::format_count(*left))
            : left ? "None is left.\n"
                   : "";
  }
  return text;
}

}  // namespace

ZombieAccount account_zombies(std::string_view stage, const census::MemcgCounts& memcgs, const census::MemorySummary& memory) {
  ZombieAccount account{stage, {}};
  auto& rows = account.rows;
  rows[ZombieAccount::total_memcgs] = memcgs.total;
  rows[ZombieAccount::visible_memcgs] = memcgs.visible;
  // Cgroup v1 does not count the dying by themselves.
  rows[ZombieAccount::dying_memcgs] = memcgs.dying ? memcgs.dying : difference(memcgs.total, memcgs.visible);
  rows[ZombieAccount::free_memory] = memory_row(memory, "MemFree");
  rows[ZombieAccount::available_memory] = memory_row(memory, "MemAvailable");
  rows[ZombieAccount::swap_used] = difference(memory_row(memory, "SwapTotal"), memory_row(memory, "SwapFree"));
  rows[ZombieAccount::slab] = memory_row(memory, "Slab");
  rows[ZombieAccount::slab_reclaimable] = memory_row(memory, "SReclaimable");
  rows[ZombieAccount::dentry_cache] = slab_sum(memory, [](std::string_view name) { return name == "dentry"; });
  rows[ZombieAccount::inode_caches] = slab_sum(memory, [](std::string_view name) {
    return name == "inode_cache" || name.ends_with("_inode_cache") || name.ends_with("_inode");
  });
  // Since 6.16; before that they are among kmalloc-4k and the like.
  rows[ZombieAccount::memcg_caches] = slab_sum(memory, [](std::string_view name) { return name.starts_with("mem_cgroup"); });
  rows[ZombieAccount::per_cpu_memory] = memory_row(memory, "Percpu");
  if (memory.caches) {
    rows[ZombieAccount::dentries] = memory.caches->dentry_count;
    rows[ZombieAccount::inodes] = memory.caches->inode_count;
  }
  return account;
}

Value stayed_count(const ZombieReport& report) {
  const ZombieAccount* const account = stage(report, removed);
  if (account == nullptr) {
    return std::nullopt;
  }
  const Value more = difference((*account)[ZombieAccount::dying_memcgs], report.stages[before][ZombieAccount::dying_memcgs]);
  // Others are made and removed meanwhile.
  return more ? Value(std::clamp<std::int64_t>(*more, 0, report.count)) : std::nullopt;
}

Value kernel_bytes_per_zombie(const ZombieReport& report) {
  const Value stayed = stayed_count(report);
  if (!stayed) {
    return std::nullopt;
  }
  const ZombieAccount& then = report.stages[before];
  const ZombieAccount& now = report.stages[removed];
  const Value slab = difference(now[ZombieAccount::slab], then[ZombieAccount::slab]);
  const Value per_cpu = difference(now[ZombieAccount::per_cpu_memory], then[ZombieAccount::per_cpu_memory]);
  const Value taken = slab && per_cpu ? Value(*slab + *per_cpu) : std::nullopt;
  // Of few, what the rest of the machine does meanwhile is more than what they take.
  constexpr std::int64_t enough = 1'000;
  return taken && *stayed >= enough && *taken > 0 ? Value(*taken / *stayed) : std::nullopt;
}

std::string zombies_text(const ZombieReport& report) {
  std::string text = fmt::format("{:<{}}", "", title_width);
  for (const ZombieAccount& account : report.stages) {
    text += fmt::format("{:>{}}", account.stage, column_width);
  }
  text += "\n";
  for (std::size_t row = 0; row < titles.size(); ++row) {
    text += fmt::format("{:<{}}", titles[row].text, title_width);
    for (const ZombieAccount& account : report.stages) {
      text += fmt::format("{:>{}}", cell(titles[row], account.rows[row]), column_width);
    }
    text += "\n";
  }
  return text + verdict_text(report);
}

std::string zombies_stage_json(const ZombieAccount& account) {
  Json line = {{"type", "stage"}, {"stage", account.stage}};
  for (std::size_t row = 0; row < titles.size(); ++row) {
    line[titles[row].key] = account.rows[row] ? Json(*account.rows[row]) : Json(nullptr);
  }
  return line.dump() + "\n";
}

std::string zombies_end_json(const ZombieReport& report) {
  const auto known = [](Value value) { return value ? Json(*value) : Json(nullptr); };
  return Json{{"type", "end"},
              {"pin", report.pin},
              {"pin_path", report.pin_path},
              {"count", report.count},
              {"stayed", known(stayed_count(report))},
              {"kernel_bytes_per_zombie", known(kernel_bytes_per_zombie(report))}}
             .dump(-1, ' ', false, Json::error_handler_t::replace) +
         "\n";
}

}  // namespace stallscope::cli
