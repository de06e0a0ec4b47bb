// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/text.h"
#include "base/units.h"
#include "census/census.h"
#include "cli/commands.h"

namespace stallscope::cli {
namespace {

using nlohmann::json;

constexpr std::size_t line_width = 80;
constexpr std::size_t name_width = 52;
constexpr std::size_t shown_slab_count = 8;
// What free(1) and the head of slabtop(1) show; --json has every row.
constexpr std::array<std::string_view, 11> shown_memory = {"MemTotal",   "MemFree",   "MemAvailable", "Buffers",
                                                           "Cached",     "Shmem",     "Slab",         "SReclaimable",
                                                           "SUnreclaim", "SwapTotal", "SwapFree"};

struct Options {
  bool json = false;
  bool no_read_cost = false;
  bool slabinfo = false;
};

std::string count_or_unknown(std::optional<std::int64_t> count) {
  return count ? base::format_count(*count) : "unknown";
}

std::string row(std::string_view name, std::string_view first, std::string_view second) {
  return fmt::format("  {:<{}} {:>12} {:>12}\n", base::shorten(base::printable(name), name_width), name_width, first, second);
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

std::string memcg_text(const census::CensusResult& result) {
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
    text += fmt::format("  walked in {}, longest section {}\n", base::format_duration(memcgs.walk_ns),
                        base::format_duration(memcgs.walk_longest_section_ns));
  }
  return text;
}

std::string file_name(const evidence::PinningFileRecord& file) {
  const std::string where = fmt::format("{} {}:{}", file.filesystem, file.device >> 20U, file.device & 0xfffffU);
  return file.path.empty() ? fmt::format("inode {} ({})", file.inode, where) : fmt::format("{} ({})", file.path, where);
}

std::string pinning_text(const census::CensusResult& result) {
  if (result.pinning_files.empty()) {
    return {};
  }
  std::string text =
      fmt::format("\n{:<{}} {:>12} {:>12}\n", "Files that pin dying memory cgroups", name_width + 2, "memcgs", "charged");
  for (const evidence::PinningFileRecord& file : result.pinning_files) {
    text += row(file_name(file), base::format_count(file.memcg_count), base::format_bytes(file.charged_bytes));
  }
  return text;
}

std::string cost_text(const census::CensusResult& result) {
  if (result.stat_reads.empty()) {
    return {};
  }
  std::string text = fmt::format("\n{:<{}} {:>12} {:>12}\n", "One read of memory.stat", name_width + 2, "median", "worst");
  for (const evidence::StatReadRecord& read : result.stat_reads) {
    text += row(read.path, base::format_duration(read.median_ns), base::format_duration(read.worst_ns));
  }
  return text;
}

std::string memory_text(const census::CensusResult& result) {
  std::string text;
  for (const evidence::MemoryRecord& memory : result.memory) {
    if (std::find(shown_memory.begin(), shown_memory.end(), memory.name) != shown_memory.end()) {
      text += fmt::format("  {:<20} {:>12}\n", memory.name, base::format_bytes(memory.bytes));
    }
  }
  return text.empty() ? text : "\nMemory\n" + text;
}

std::string slab_text(const census::CensusResult& result) {
  if (result.slabs.empty()) {
    return {};
  }
  std::string text = fmt::format("\n{:<{}} {:>12} {:>12}\n", "Largest slab caches", name_width + 2, "objects", "memory");
  for (std::size_t i = 0; i < std::min(result.slabs.size(), shown_slab_count); ++i) {
    const evidence::SlabRecord& slab = result.slabs[i];
    text += row(slab.cache, base::format_count(slab.total_objects), base::format_bytes(slab.total_bytes));
  }
  return text;
}

std::string gap_text(const census::CensusResult& result) {
  std::string text;
  for (const evidence::GapRecord& gap : result.gaps) {
    const std::string sentence = fmt::format("{}: {}; {}.", gap.what, gap.reason, gap.consequence);
    text += "  " + base::wrap(base::printable(sentence), line_width - 2, 4) + "\n";
  }
  return text.empty() ? text : "\nNot known\n" + text;
}

json json_of(const evidence::MemcgCensusRecord& memcgs, std::optional<std::int64_t> dying_charged_bytes) {
  const auto optional = [](std::optional<std::int64_t> count) { return count ? json(*count) : json(nullptr); };
  return {{"taken_ns", memcgs.taken_ns},
          {"cgroup_version", memcgs.cgroup_version},
          {"kernel_total", optional(memcgs.kernel_total)},
          {"kernel_dying", optional(memcgs.kernel_dying)},
          {"visible", optional(memcgs.visible)},
          {"walked_live", optional(memcgs.walked_live)},
          {"walked_dying", optional(memcgs.walked_dying)},
          {"dying_charged_bytes", optional(dying_charged_bytes)},
          {"walk_approximate", memcgs.walk_approximate},
          {"walk_ns", memcgs.walk_ns},
          {"walk_longest_section_ns", memcgs.walk_longest_section_ns}};
}

json json_of(const census::CensusResult& result) {
  json root = {{"memory_cgroups", json_of(result.memcgs, result.dying_charged_bytes)},
               {"pinning_files", json::array()},
               {"stat_reads", json::array()},
               {"memory", json::array()},
               {"slabs", json::array()},
               {"gaps", json::array()}};
  for (const evidence::PinningFileRecord& file : result.pinning_files) {
    root["pinning_files"].push_back({{"path", file.path},
                                     {"filesystem", file.filesystem},
                                     {"device", fmt::format("{}:{}", file.device >> 20U, file.device & 0xfffffU)},
                                     {"inode", file.inode},
                                     {"memcg_count", file.memcg_count},
                                     {"charged_bytes", file.charged_bytes}});
  }
  for (const evidence::StatReadRecord& read : result.stat_reads) {
    root["stat_reads"].push_back(
        {{"path", read.path}, {"read_count", read.read_count}, {"median_ns", read.median_ns}, {"worst_ns", read.worst_ns}});
  }
  for (const evidence::MemoryRecord& memory : result.memory) {
    root["memory"].push_back({{"name", memory.name}, {"bytes", memory.bytes}});
  }
  for (const evidence::SlabRecord& slab : result.slabs) {
    root["slabs"].push_back({{"cache", slab.cache},
                             {"active_objects", slab.active_objects},
                             {"total_objects", slab.total_objects},
                             {"object_bytes", slab.object_bytes},
                             {"total_bytes", slab.total_bytes}});
  }
  for (const evidence::GapRecord& gap : result.gaps) {
    root["gaps"].push_back({{"what", gap.what}, {"reason", gap.reason}, {"consequence", gap.consequence}});
  }
  return root;
}

void run_census(const Options& options) {
  census::CensusOptions census_options;
  census_options.read_cost = !options.no_read_cost;
  census_options.slabinfo_anyway = options.slabinfo;
  const census::CensusResult result = census::take_census(census_options);
  // A name of the kernel may hold bytes that are not UTF-8; JSON cannot.
  const std::string text = options.json ? json_of(result).dump(2, ' ', false, json::error_handler_t::replace) + "\n"
                                        : memcg_text(result) + pinning_text(result) + cost_text(result) + memory_text(result) +
                                              slab_text(result) + gap_text(result);
  fmt::print("{}", text);
}

}  // namespace

void add_census_command(CLI::App& app, int& exit_status) {
  CLI::App* const command = app.add_subcommand(
      "census", "Count memory cgroups, live and dying, and what pins them; memory, slab and the cost of memory.stat");
  const auto options = std::make_shared<Options>();
  command->add_flag("--json", options->json, "Print everything as one JSON object");
  command->add_flag("--no-read-cost", options->no_read_cost,
                    "Do not read memory.stat: where it is slow, the reads themselves hold interrupts off");
  command->add_flag("--slabinfo", options->slabinfo,
                    "Read /proc/slabinfo also on kernels before 6.10, where that holds interrupts off");
  command->footer(
      "EXAMPLES\n"
      "  sudo stallscope census                  what keeps dying memory cgroups in memory\n"
      "  sudo stallscope census --no-read-cost   without the reads that could stall packets\n"
      "  stallscope census --json                what can be had without privileges, for a program");
  command->callback([options, &exit_status] {
    run_census(*options);
    exit_status = exit_clean;
  });
}

}  // namespace stallscope::cli
