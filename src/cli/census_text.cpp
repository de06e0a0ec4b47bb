// SPDX-License-Identifier: Apache-2.0
#include "cli/census_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/text.h"
#include "base/units.h"
#include "shape/statistics.h"

namespace stallscope::cli {
namespace {

using census::CensusResult;
using census::MemcgCharges;

constexpr std::size_t line_width = 80;
constexpr std::size_t name_width = 52;
constexpr std::size_t shown_slab_count = 8;
// What free(1) and the head of slabtop(1) show; --json has every row.
constexpr std::array<std::string_view, 11> shown_memory = {"MemTotal",   "MemFree",   "MemAvailable", "Buffers",
                                                           "Cached",     "Shmem",     "Slab",         "SReclaimable",
                                                           "SUnreclaim", "SwapTotal", "SwapFree"};

struct Kind {
  std::string_view name;
  std::int64_t MemcgCharges::*bytes;
};
constexpr std::array<Kind, 8> kinds = {{{"file (shmem included)", &MemcgCharges::file_bytes},
                                        {"shmem", &MemcgCharges::shmem_bytes},
                                        {"anonymous", &MemcgCharges::anonymous_bytes},
                                        {"slab, reclaimable", &MemcgCharges::slab_reclaimable_bytes},
                                        {"slab, unreclaimable", &MemcgCharges::slab_unreclaimable_bytes},
                                        {"kernel stacks", &MemcgCharges::kernel_stack_bytes},
                                        {"sockets", &MemcgCharges::socket_bytes},
                                        {"swap", &MemcgCharges::swap_bytes}}};

std::string count_or_unknown(std::optional<std::int64_t> count) {
  return count ? base::format_count(*count) : "unknown";
}

std::string bytes_or_unknown(std::int64_t bytes) {
  return bytes < 0 ? "unknown" : base::format_bytes(bytes);
}

std::string row(std::string_view name, std::string_view first, std::string_view second) {
  return fmt::format("  {:<{}} {:>12} {:>12}\n", base::shorten(base::printable(name), name_width), name_width, first, second);
}

std::string heading(std::string_view title, std::string_view first, std::string_view second) {
  return fmt::format("\n{:<{}} {:>12} {:>12}\n", title, name_width + 2, first, second);
}

std::string_view hierarchy_title(std::int32_t version) {
  switch (version) {
    case 1:
      return "cgroup v1";
    case 2:
      return "cgroup v2";
    default:
      return "hierarchy not found";
  }
}

std::string memcg_text(const CensusResult& result) {
  const evidence::MemcgCensusRecord& memcgs = result.memcgs;
  const bool walked = memcgs.walked_dying.has_value();
  const std::string prefix = memcgs.walk_approximate ? ">= " : "";
  std::string text = fmt::format("Memory cgroups ({})\n", hierarchy_title(memcgs.cgroup_version));
  const std::optional<std::int64_t> live = walked ? memcgs.walked_live : memcgs.visible;
  const std::optional<std::int64_t> dying = walked ? memcgs.walked_dying : memcgs.kernel_dying;
  text += fmt::format("  live    {:>10}\n", prefix + count_or_unknown(live));
  text += fmt::format("  dying   {:>10}", prefix + count_or_unknown(dying));
  if (result.dying_charged_bytes) {
    text += fmt::format("   {} charged to them", base::format_bytes(*result.dying_charged_bytes));
  }
  text += fmt::format("\n  kernel  {:>10}   live and dying, by its own count", count_or_unknown(memcgs.kernel_total));
  if (memcgs.visible) {
    text += fmt::format("; {} directories", base::format_count(*memcgs.visible));
  }
  text += "\n";
  if (walked) {
    text += fmt::format("  IDs     {:>10}   in use of {}; at 0 left no cgroup can be made\n",
                        base::format_count(result.table.ids_in_use), base::format_count(census::memcg_id_limit));
    text += fmt::format("  walked in {}, longest section {}\n", base::format_duration(memcgs.walk_ns),
                        base::format_duration(memcgs.walk_longest_section_ns));
  }
  return text;
}

template <typename Rows, typename Print>
std::string table(const Rows& rows, std::size_t limit, std::string_view noun, const Print& print) {
  std::string text;
  for (std::size_t i = 0; i < std::min(rows.size(), limit); ++i) {
    text += print(rows[i]);
  }
  if (rows.size() > limit) {
    text += fmt::format("  and {} more {}\n", base::format_count(static_cast<std::int64_t>(rows.size() - limit)), noun);
  }
  return text;
}

std::string groups_text(std::string_view title, const std::vector<census::MemcgGroup>& groups, std::size_t limit) {
  if (groups.empty()) {
    return {};
  }
  return heading(title, "memcgs", "charged") + table(groups, limit, "rows", [](const census::MemcgGroup& group) {
           return row(group.name, base::format_count(group.memcg_count), base::format_bytes(group.charged_bytes));
         });
}

std::string pinning_text(const CensusResult& result, std::size_t limit) {
  std::string text = groups_text("What pins dying memory cgroups", census::dying_by_pin(result.table), limit);
  if (!result.table.files.empty()) {
    text += heading("Files that pin dying memory cgroups", "memcgs", "page cache");
    text += table(result.table.files, limit, "files", [](const census::PinningFile& file) {
      return row(pinning_file_title(file), base::format_count(file.memcg_count), bytes_or_unknown(file.cached_bytes));
    });
  }
  text += groups_text("Dying, by the live cgroup above", census::dying_by_parent(result.table), limit);
  text += groups_text("Dying, by unit or pod", census::dying_by_owner(result.table), limit);
  return text;
}

std::string cached_text(const CensusResult& result, std::size_t limit) {
  if (result.cached_files.empty()) {
    return {};
  }
  return heading("Files with most page cache", "pinned", "page cache") +
         table(result.cached_files, limit, "files", [](const census::PinningFile& file) {
           return row(pinning_file_title(file), base::format_count(file.memcg_count), bytes_or_unknown(file.cached_bytes));
         });
}

std::string kinds_text(const CensusResult& result) {
  if (!result.table.kinds_known) {
    return {};
  }
  const MemcgCharges live = census::total_charges(result.table, true);
  const MemcgCharges dying = census::total_charges(result.table, false);
  std::string text = heading("Charged, by kind", "live", "dying");
  for (const Kind& kind : kinds) {
    text += row(kind.name, bytes_or_unknown(live.*kind.bytes), bytes_or_unknown(dying.*kind.bytes));
  }
  return text;
}

/// "1.9 us for each memory cgroup below": by least squares, where the cgroups read differ enough.
std::string curve_text(const CensusResult& result) {
  std::vector<shape::Point> points;
  for (const census::StatReadPoint& point : result.cost_curve) {
    points.push_back({static_cast<double>(point.dying_below), static_cast<double>(point.worst_ns)});
  }
  const std::optional<shape::SlopeFit> fit = shape::fit_line(points);
  if (!fit) {
    return {};
  }
  return fmt::format("  by least squares over {} cgroups: {:+.1f} ns for each dying memory cgroup below\n", points.size(),
                     fit->slope);
}

std::string cost_text(const CensusResult& result) {
  if (result.stat_reads.empty()) {
    return {};
  }
  std::string text = heading("One read of memory.stat", "dying below", "worst");
  if (result.cost_curve.empty()) {
    for (const evidence::StatReadRecord& read : result.stat_reads) {
      text += row(read.path, "unknown", base::format_duration(read.worst_ns));
    }
    return text;
  }
  std::vector<census::StatReadPoint> points = result.cost_curve;
  std::stable_sort(points.begin(), points.end(),
                   [](const auto& left, const auto& right) { return left.dying_below > right.dying_below; });
  for (const census::StatReadPoint& point : points) {
    text += row(point.path, base::format_count(point.dying_below), base::format_duration(point.worst_ns));
  }
  return text + curve_text(result);
}

std::string memory_text(const CensusResult& result) {
  std::string text;
  for (const evidence::MemoryRecord& memory : result.memory) {
    if (std::find(shown_memory.begin(), shown_memory.end(), memory.name) != shown_memory.end()) {
      text += fmt::format("  {:<20} {:>12}\n", memory.name, base::format_bytes(memory.bytes));
    }
  }
  return text.empty() ? text : "\nMemory\n" + text;
}

std::string cache_text(const CensusResult& result) {
  if (!result.caches) {
    return {};
  }
  const census::CacheState& caches = *result.caches;
  const std::string negative = caches.negative_dentry_count < 0
                                   ? std::string("unknown how many of files that do not exist")
                                   : base::format_count(caches.negative_dentry_count) + " of files that do not exist (negative)";
  return fmt::format("\nDirectory entries and inodes\n  {:<20} {:>12}   {} unused, {}\n  {:<20} {:>12}   {} free\n", "dentries",
                     base::format_count(caches.dentry_count), base::format_count(caches.unused_dentry_count), negative, "inodes",
                     base::format_count(caches.inode_count), base::format_count(caches.free_inode_count));
}

std::string slab_text(const CensusResult& result) {
  if (result.slabs.empty()) {
    return {};
  }
  std::string text = heading("Largest slab caches", "objects", "memory");
  for (std::size_t i = 0; i < std::min(result.slabs.size(), shown_slab_count); ++i) {
    const evidence::SlabRecord& slab = result.slabs[i];
    text += row(slab.cache, base::format_count(slab.total_objects), base::format_bytes(slab.total_bytes));
  }
  return text;
}

std::string gap_text(const CensusResult& result) {
  std::string text;
  for (const evidence::GapRecord& gap : result.gaps) {
    const std::string sentence = fmt::format("{}: {}; {}.", gap.what, gap.reason, gap.consequence);
    text += "  " + base::wrap(base::printable(sentence), line_width - 2, 4) + "\n";
  }
  return text.empty() ? text : "\nNot known\n" + text;
}

std::string each_text(const CensusResult& result) {
  if (result.table.memcgs.empty()) {
    return {};
  }
  std::string text = "\nDying memory cgroups, by their former paths\n";
  for (std::size_t i = 0; i < result.table.memcgs.size(); ++i) {
    const census::Memcg& memcg = result.table.memcgs[i];
    if (memcg.live) {
      continue;
    }
    const std::string pin = memcg.file < 0 ? std::string(census::memcg_pin_id(memcg.pin))
                                           : pinning_file_title(result.table.files[static_cast<std::size_t>(memcg.file)]);
    text += fmt::format(
        "  {}  {}  refs {}  {}{}\n", base::printable(result.table.path_of(static_cast<std::int32_t>(i))),
        base::format_bytes(memcg.charges.memory_bytes), memcg.references < 0 ? "?" : fmt::format("{}", memcg.references),
        base::printable(pin),
        memcg.age_at_least_ns < 0 ? "" : fmt::format("  at least {} old", base::format_duration(memcg.age_at_least_ns)));
  }
  return text;
}

std::string signed_count(std::int64_t count) {
  return fmt::format("{}{}", count < 0 ? "-" : "+", base::format_count(std::abs(count)));
}

std::int64_t dying_of(const CensusResult& result) {
  return result.memcgs.walked_dying.value_or(result.memcgs.kernel_dying.value_or(0));
}

/// The cache that grew most since the look before, by memory.
std::string growth(const CensusResult& before, const CensusResult& now) {
  std::int64_t most_bytes = 0;
  std::string_view name;
  for (const evidence::SlabRecord& slab : now.slabs) {
    const auto was =
        std::find_if(before.slabs.begin(), before.slabs.end(), [&](const auto& other) { return other.cache == slab.cache; });
    const std::int64_t grown_bytes = was == before.slabs.end() ? 0 : slab.total_bytes - was->total_bytes;
    if (std::abs(grown_bytes) > std::abs(most_bytes)) {
      most_bytes = grown_bytes;
      name = slab.cache;
    }
  }
  return name.empty()
             ? std::string("-")
             : fmt::format("{} {}{}", base::printable(name), most_bytes < 0 ? "-" : "+", base::format_bytes(std::abs(most_bytes)));
}

}  // namespace

std::string pinning_file_title(const census::PinningFile& file) {
  const std::string where = fmt::format("{} {}:{}", file.filesystem, file.device >> 20U, file.device & 0xfffffU);
  return file.path.empty() ? fmt::format("inode {} ({})", file.inode, where) : fmt::format("{} ({})", file.path, where);
}

std::string census_text(const CensusResult& result, const CensusTextOptions& options) {
  std::string text = memcg_text(result) + pinning_text(result, options.rows) + cached_text(result, options.rows) +
                     kinds_text(result) + cost_text(result) + memory_text(result) + cache_text(result) + slab_text(result) +
                     gap_text(result);
  if (options.each) {
    text += each_text(result);
  }
  return text;
}

std::string census_watch_heading() {
  return fmt::format("{:<8} {:>8} {:>8} {:>8} {:>10} {:>10}  {:<28} {}\n", "UTC", "live", "dying", "change", "slab", "negative",
                     "slab cache that changed most", "pinned most by");
}

std::string census_watch_line(const CensusResult* before, const CensusResult& now) {
  const auto memory = [&](std::string_view name) {
    const auto found = std::find_if(now.memory.begin(), now.memory.end(), [&](const auto& record) { return record.name == name; });
    return found == now.memory.end() ? std::string("unknown") : base::format_bytes(found->bytes);
  };
  const std::int64_t negative = now.caches ? now.caches->negative_dentry_count : -1;
  return fmt::format("{:<8} {:>8} {:>8} {:>8} {:>10} {:>10}  {:<28} {}\n", base::time_of_day(base::realtime_ns()).substr(0, 8),
                     count_or_unknown(now.memcgs.walked_live ? now.memcgs.walked_live : now.memcgs.visible),
                     count_or_unknown(now.memcgs.walked_dying ? now.memcgs.walked_dying : now.memcgs.kernel_dying),
                     before == nullptr ? "-" : signed_count(dying_of(now) - dying_of(*before)), memory("Slab"),
                     negative < 0 ? "unknown" : base::format_count(negative), before == nullptr ? "-" : growth(*before, now),
                     now.table.files.empty() ? "-" : base::printable(pinning_file_title(now.table.files.front())));
}

}  // namespace stallscope::cli
