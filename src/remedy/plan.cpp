// SPDX-License-Identifier: Apache-2.0
#include "remedy/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "base/units.h"
#include "diagnose/memcg_facts.h"
#include "diagnose/notes.h"
#include "remedy/options.h"
#include "shape/statistics.h"

namespace stallscope::remedy {
namespace {

using diagnose::Diagnosis;
using diagnose::Finding;
using evidence::Evidence;
using evidence::PinningFileRecord;

/// Whose files' statistics are costly to read. A finding of theirs names a reader.
constexpr std::array<std::string_view, 3> reader_rules = {"memcg-stat-flush", "numa-stat-read", "slabinfo-read"};

bool is_reader_rule(std::string_view rule) {
  return std::find(reader_rules.begin(), reader_rules.end(), rule) != reader_rules.end();
}

std::optional<std::int32_t> worst_cpu(const Diagnosis& diagnosis, const Finding& finding) {
  std::map<std::int32_t, std::int64_t> held_ns;
  for (const diagnose::Claim& claim : finding.claims) {
    if (const std::optional<std::int32_t>& cpu = diagnosis.stalls[claim.stall].cpu) {
      held_ns[*cpu] += claim.length_ns;
    }
  }
  const auto worst =
      std::max_element(held_ns.begin(), held_ns.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return worst == held_ns.end() ? std::nullopt : std::optional(worst->first);
}

/// The processes whose claimed shares are calls on a file, longest in all first.
std::vector<Reader> readers_of(const Evidence& evidence, const Diagnosis& diagnosis, const Finding& finding) {
  struct Seen {
    Reader reader;
    std::int64_t held_ns = 0;
    std::vector<std::int64_t> starts_ns;
  };
  std::map<std::int32_t, Seen> by_process;
  for (const diagnose::Claim& claim : finding.claims) {
    const diagnose::Stall& stall = diagnosis.stalls[claim.stall];
    const evidence::Occupant* const occupant = diagnose::occupant_of(evidence, stall.shares[claim.share]);
    if (occupant == nullptr || occupant->kernel_thread || occupant->file.empty() || occupant->tgid <= 0) {
      continue;
    }
    Seen& seen = by_process[occupant->tgid];
    seen.reader.pid = occupant->tgid;
    seen.reader.comm = occupant->comm;
    seen.reader.file = occupant->file;
    seen.held_ns += claim.length_ns;
    seen.starts_ns.push_back(stall.start_ns);
  }
  std::vector<Seen> sorted;
  sorted.reserve(by_process.size());
  for (auto& [pid, seen] : by_process) {
    sorted.push_back(std::move(seen));
  }
  std::sort(sorted.begin(), sorted.end(), [](const Seen& a, const Seen& b) { return a.held_ns > b.held_ns; });
  std::vector<Reader> readers;
  for (Seen& seen : sorted) {
    constexpr std::size_t least_stalls = 3;
    std::sort(seen.starts_ns.begin(), seen.starts_ns.end());
    seen.reader.stall_count = static_cast<std::int64_t>(seen.starts_ns.size());
    if (seen.starts_ns.size() >= least_stalls) {
      std::vector<std::int64_t> distances_ns;
      for (std::size_t i = 1; i < seen.starts_ns.size(); ++i) {
        distances_ns.push_back(seen.starts_ns[i] - seen.starts_ns[i - 1]);
      }
      seen.reader.interval_ns = shape::median(std::move(distances_ns));
    }
    readers.push_back(std::move(seen.reader));
  }
  return readers;
}

/// The device on which packets of probes came in on that CPU; empty where no packet was followed.
std::string device_on(const Evidence& evidence, std::int32_t cpu) {
  const auto packet = std::find_if(evidence.packets.begin(), evidence.packets.end(),
                                   [&](const auto& one) { return one.cpu == cpu && one.device != "lo"; });
  return packet == evidence.packets.end() ? std::string() : packet->device;
}

std::int32_t cgroup_version(const Evidence& evidence) {
  return evidence.memcg_census ? evidence.memcg_census->cgroup_version : 0;
}

bool mostly_in_memory(const Evidence& evidence) {
  std::int64_t in_memory = 0;
  std::int64_t all = 0;
  for (const PinningFileRecord& file : evidence.pinning_files) {
    all += file.memcg_count;
    in_memory += file.filesystem == "tmpfs" ? file.memcg_count : 0;
  }
  return all > 0 && in_memory > all / 2;
}

bool has_zombies(const Evidence& evidence) {
  const diagnose::MemcgCounts counts = diagnose::memcg_counts(evidence);
  return counts.dying && *counts.dying >= diagnose::notable_zombie_count;
}

/// What ends the zombies: gentlest first, those that lose something after those that do not.
void add_zombie_options(const Evidence& evidence, std::vector<Option>& options) {
  constexpr std::size_t most_files = 3;
  std::vector<Option> files;
  for (const PinningFileRecord& file : evidence.pinning_files) {
    const bool named = !file.path.empty() && file.path.front() == '/' && !file.path.ends_with(" (deleted)");
    if (named && file.memcg_count >= diagnose::notable_zombie_count && files.size() < most_files) {
      files.push_back(release_file(file));
    }
  }
  std::stable_sort(files.begin(), files.end(), [](const Option& a, const Option& b) { return a.risk < b.risk; });
  options.insert(options.end(), files.begin(), files.end());
  if (!mostly_in_memory(evidence)) {
    options.push_back(reclaim_from_ancestor(cgroup_version(evidence)));
  }
  options.push_back(reclaim_before_removal(cgroup_version(evidence)));
}

void add_last_resorts(const Evidence& evidence, const std::string& rule_id, bool about_zombies, std::vector<Option>& options) {
  if (std::optional<Option> kernel = newer_kernel(rule_id, evidence.run.kernel_release)) {
    options.push_back(*std::move(kernel));
  }
  if (about_zombies) {
    options.push_back(drain_node());
    options.push_back(drop_caches(mostly_in_memory(evidence)));
  }
}

FindingPlan plan_for(const Evidence& evidence, const Diagnosis& diagnosis, const Finding& finding) {
  FindingPlan plan{finding.rule_id, finding.cause, {}};
  if (is_reader_rule(finding.rule_id)) {
    for (const Reader& reader : readers_of(evidence, diagnosis, finding)) {
      plan.options.push_back(slow_reader(reader));
      plan.options.push_back(stop_reader(reader));
    }
  }
  const bool about_zombies =
      has_zombies(evidence) && (finding.rule_id == "memcg-stat-flush" || finding.rule_id == "numa-stat-read" ||
                                finding.rule_id == "zombie-release" || finding.rule_id == "slab-shrink");
  if (about_zombies) {
    add_zombie_options(evidence, plan.options);
  }
  const std::optional<std::int32_t> cpu = worst_cpu(diagnosis, finding);
  if (finding.rule_id == "napi-budget") {
    plan.options.push_back(raise_napi_budget());
  }
  if (finding.rule_id == "backlog-drops") {
    plan.options.push_back(lengthen_backlog());
  }
  if (finding.rule_id == "softirq-vector" || finding.rule_id == "thread-delay") {
    plan.options.push_back(thread_napi(cpu ? device_on(evidence, *cpu) : ""));
  }
  if (cpu && evidence.run.cpu_count > 1) {
    plan.options.push_back(move_receive_off_cpu(*cpu, evidence.run.cpu_count, device_on(evidence, *cpu)));
  }
  add_last_resorts(evidence, finding.rule_id, about_zombies, plan.options);
  return plan;
}

}  // namespace

std::string_view risk_id(Risk risk) {
  constexpr std::array<std::string_view, 3> ids = {"low", "medium", "high"};
  return ids[static_cast<std::size_t>(risk)];
}

std::string shell_quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    quoted += c == '\'' ? "'\\''" : std::string(1, c);
  }
  return quoted + "'";
}

Plan make_plan(const Evidence& evidence, const Diagnosis& diagnosis) {
  Plan plan;
  plan.kernel_release = evidence.run.kernel_release;
  bool zombies_blamed = false;
  for (const Finding& finding : diagnosis.findings) {
    plan.findings.push_back(plan_for(evidence, diagnosis, finding));
    zombies_blamed = zombies_blamed || finding.rule_id == "memcg-stat-flush" || finding.rule_id == "zombie-release";
  }
  if (has_zombies(evidence) && !zombies_blamed) {
    const diagnose::MemcgCounts counts = diagnose::memcg_counts(evidence);
    FindingPlan zombies{
        "zombies",
        fmt::format("{} zombie memory cgroups are present; no stall is known to come from them", base::format_count(*counts.dying)),
        {}};
    add_zombie_options(evidence, zombies.options);
    add_last_resorts(evidence, "zombies", true, zombies.options);
    plan.findings.push_back(std::move(zombies));
  }
  return plan;
}

}  // namespace stallscope::remedy
