// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/units.h"
#include "diagnose/arithmetic.h"
#include "diagnose/memcg_facts.h"
#include "diagnose/rules/common.h"
#include "diagnose/rules/flush_sections.h"
#include "evidence/syscalls.h"
#include "shape/statistics.h"

namespace stallscope::diagnose::rules {
namespace {

using evidence::Occupant;
using evidence::PinningFileRecord;
using evidence::WaitMode;

/// Flush sections have to cover one part in this many of a wait to be what it consisted of.
constexpr std::int64_t flush_part_divisor = 2;
/// The chance of a coincidence must be below this for high confidence.
constexpr double significance = 0.01;

// Functions that flush or print the statistics of memory cgroups, without leading underscores, by kernel: mem_cgroup_nr_lru_pages
// and memcg_stat_show up to 5.2; cgroup_rstat_* from 5.13 (2d146aa3aa84), renamed css_rstat_* in 6.16; memcg1_stat_format
// from 6.11.
constexpr std::array<std::string_view, 10> flush_functions = {
    "css_rstat_flush",    "cgroup_rstat_flush", "mem_cgroup_flush_stats", "mem_cgroup_css_rstat_flush", "do_flush_stats",
    "memcg1_stat_format", "memcg_stat_show",    "memory_stat_show",       "memory_stat_format",         "mem_cgroup_nr_lru_pages"};

enum class Source : std::uint8_t { reader, flush_worker, other };

struct Signals {
  bool file = false;
  std::string_view function;
  bool flush_section = false;
  Source source = Source::other;

  [[nodiscard]] bool any() const { return file || !function.empty() || flush_section; }
};

std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

bool names_statistics(std::string_view file) {
  return base_name(file) == "memory.stat";
}

bool is_flush_function(std::string_view name) {
  name.remove_prefix(std::min(name.find_first_not_of('_'), name.size()));
  return std::any_of(flush_functions.begin(), flush_functions.end(),
                     [&](std::string_view known) { return name.starts_with(known); });
}

class Detective {
 public:
  explicit Detective(const Context& context) : context_(context), sections_(context.evidence, context.window) {}

  [[nodiscard]] const FlushSections& sections() const { return sections_; }

  [[nodiscard]] Signals signals_of(const Share& share) const {
    Signals signals;
    if (!share.wait || !share.mode || *share.mode == WaitMode::vcpu_stolen || *share.mode == WaitMode::softirq_vector ||
        *share.mode == WaitMode::net_rx_work) {
      return signals;
    }
    const evidence::WaitRecord& wait = context_.evidence.waits[*share.wait];
    signals.flush_section = sections_.covered_ns(wait.cpu, wait.start_ns, wait.end_ns) >= wait.length_ns() / flush_part_divisor;
    const Occupant* occupant = occupant_of(context_.evidence, share);
    if (occupant == nullptr) {
      return signals;
    }
    const bool reads = occupant->syscall_number && evidence::syscall_reads_file(*occupant->syscall_number);
    signals.file = reads && names_statistics(occupant->file);
    signals.source = reads && !occupant->file.empty() ? Source::reader : Source::other;
    if (const std::vector<std::string>* frames = context_.stacks.frames(occupant->stack_id)) {
      read_stack(*frames, signals);
    }
    return signals;
  }

 private:
  static void read_stack(const std::vector<std::string>& frames, Signals& signals) {
    for (const std::string& frame : frames) {
      const std::string_view name = function_name(frame);
      if (signals.function.empty() && is_flush_function(name)) {
        signals.function = name;
      }
      if (name == "flush_memcg_stats_dwork") {
        signals.source = Source::flush_worker;
      }
    }
  }

  const Context& context_;
  FlushSections sections_;
};

/// What the claimed shares add up to.
struct Tally {
  std::vector<Claim> claims;
  std::int64_t by_file_ns = 0;
  std::int64_t by_stack_ns = 0;
  std::int64_t by_flush_ns = 0;
  std::int64_t total_ns = 0;
  std::map<Source, std::int64_t> by_source_ns;
  std::map<std::size_t, std::int64_t> flushed_ns_by_stall;
  std::map<std::string_view, std::int64_t> functions;
  std::map<WaitMode, std::int64_t> by_mode_ns;
  std::string file;
};

Tally tally_claims(const Context& context, const Detective& detective) {
  Tally tally;
  tally.claims = claim_where(context, [&](const Stall&, const Share& share) { return detective.signals_of(share).any(); });
  std::int64_t longest_file_ns = 0;
  for (const Claim& claim : tally.claims) {
    const Stall& stall = context.stalls[claim.stall];
    const Share& share = stall.shares[claim.share];
    if (!share.wait) {
      continue;
    }
    const Signals signals = detective.signals_of(share);
    tally.total_ns += claim.length_ns;
    tally.by_file_ns += signals.file ? claim.length_ns : 0;
    tally.by_stack_ns += signals.function.empty() ? 0 : claim.length_ns;
    tally.by_flush_ns += signals.flush_section ? claim.length_ns : 0;
    tally.by_source_ns[signals.source] += claim.length_ns;
    tally.by_mode_ns[*share.mode] += claim.length_ns;
    if (!signals.function.empty()) {
      tally.functions[signals.function] += claim.length_ns;
    }
    if (stall.cpu) {
      tally.flushed_ns_by_stall[claim.stall] = detective.sections().covered_ns(*stall.cpu, stall.start_ns, stall.end_ns);
    }
    if (signals.source == Source::reader && claim.length_ns > longest_file_ns) {
      longest_file_ns = claim.length_ns;
      tally.file = base_name(occupant_of(context.evidence, share)->file);
    }
  }
  return tally;
}

template <typename Key>
Key largest(const std::map<Key, std::int64_t>& amounts) {
  return std::max_element(amounts.begin(), amounts.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
}

bool zombies_dominate(const MemcgCounts& counts) {
  return counts.dying && counts.total && *counts.dying > *counts.total / 2;
}

std::string cause_of(const Tally& tally, const MemcgCounts& counts) {
  std::string object = "the statistics of the memory cgroups";
  if (zombies_dominate(counts)) {
    object = fmt::format("{} zombie memory cgroups", base::format_count(*counts.dying));
  } else if (counts.total) {
    object = fmt::format("the statistics of {} memory cgroups", base::format_count(*counts.total));
  }
  const std::string effect =
      largest(tally.by_mode_ns) == WaitMode::hard_irqs_off ? "with interrupts off" : "and keeps softirqs waiting";
  switch (largest(tally.by_source_ns)) {
    case Source::reader:
      return fmt::format("reading {} flushes {} {}", tally.file, object, effect);
    case Source::flush_worker:
      return fmt::format("the kernel's own flush worker flushes {} {}", object, effect);
    case Source::other:
      break;
  }
  return fmt::format("a flush of cgroup statistics goes through {} {}", object, effect);
}

bool flush_hook_missing(const Context& context) {
  const auto mentions = [](const std::string& text) {
    return text.find("rstat") != std::string::npos || text.find("flush") != std::string::npos;
  };
  return context.evidence.flushes.empty() &&
         std::any_of(context.evidence.gaps.begin(), context.evidence.gaps.end(), [&](const evidence::GapRecord& gap) {
           return mentions(gap.what) || mentions(gap.reason) || mentions(gap.consequence);
         });
}

struct Coincidence {
  /// Stalls that share time with a flush section on their CPU.
  std::int64_t overlapping_count = 0;
  /// Probability of as many by chance. Nothing: flush sections were not observed.
  std::optional<double> chance;
};

Coincidence test_coincidence(const Context& context, const FlushSections& sections) {
  Coincidence coincidence;
  if (flush_hook_missing(context)) {
    return coincidence;
  }
  // The stall most likely to overlap by chance stands for all: stalls differ in length, and this errs to the safe side.
  double probability = 0;
  for (const Stall& stall : context.stalls) {
    if (stall.cpu) {
      coincidence.overlapping_count += sections.covered_ns(*stall.cpu, stall.start_ns, stall.end_ns) > 0 ? 1 : 0;
      probability = std::max(probability, sections.chance_of_overlap(*stall.cpu, stall.length_ns()));
    }
  }
  coincidence.chance =
      shape::binomial_tail(coincidence.overlapping_count, static_cast<std::int64_t>(context.stalls.size()), probability);
  return coincidence;
}

std::string format_chance(double chance) {
  return chance < 0.001 ? "p < 0.001" : fmt::format("p = {:.3f}", chance);
}

std::string describe_cost(const Context& context, const Tally& tally, const MemcgCounts& counts) {
  std::vector<std::int64_t> sections_ns;
  for (const auto& [stall, flushed_ns] : tally.flushed_ns_by_stall) {
    sections_ns.push_back(flushed_ns > 0 ? flushed_ns : context.stalls[stall].length_ns());
  }
  if (sections_ns.empty()) {
    return {};
  }
  const std::int64_t typical_ns = shape::median(std::move(sections_ns));
  std::string text = fmt::format("; one {} takes {}", largest(tally.by_source_ns) == Source::reader ? "read" : "flush",
                                 base::format_duration(typical_ns));
  if (zombies_dominate(counts)) {
    text += fmt::format(", {} per zombie", base::format_duration(typical_ns / *counts.dying));
  }
  return text;
}

std::string describe_overlap(const Context& context, const Tally& tally, const Coincidence& coincidence,
                             const MemcgCounts& counts) {
  const bool read = largest(tally.by_source_ns) == Source::reader;
  const std::string subject = read ? tally.file + " reads" : "statistics flushes";
  const std::string seen = of_stalls(stall_count(tally.claims), context);
  std::string chance;
  if (!coincidence.chance) {
    chance = " (p unknown: flush sections were not observed)";
  } else if (coincidence.overlapping_count == stall_count(tally.claims)) {
    chance = fmt::format(" ({})", format_chance(*coincidence.chance));
  } else {
    chance = fmt::format("; flush sections overlap {} ({})", of_stalls(coincidence.overlapping_count, context),
                         format_chance(*coincidence.chance));
  }
  return fmt::format("{} overlap {}{}{}", subject, seen, chance, describe_cost(context, tally, counts));
}

std::optional<std::string> describe_zombies(const Context& context, const MemcgCounts& counts) {
  if (!counts.dying || !counts.total) {
    return std::nullopt;
  }
  std::string text =
      fmt::format("{} of {} memory cgroups are dying", base::format_count(*counts.dying), base::format_count(*counts.total));
  const std::vector<PinningFileRecord>& files = context.evidence.pinning_files;
  if (!files.empty()) {
    const auto worst =
        std::max_element(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.memcg_count < b.memcg_count; });
    // What is charged to them is more than the file's own pages where they hold other memory as well.
    const std::string pinned =
        worst->memcg_count == *counts.dying ? "all of them" : fmt::format("{} of them", base::format_count(worst->memcg_count));
    text +=
        fmt::format("; pages of {} pin {}, to which {} are charged", worst->path, pinned, base::format_bytes(worst->charged_bytes));
    std::int64_t others_count = 0;
    for (const PinningFileRecord& file : files) {
      others_count = saturating_add(others_count, file.memcg_count);
    }
    others_count = saturating_subtract(others_count, worst->memcg_count);
    if (others_count > 0) {
      text += fmt::format("; {} other file{} pin{} {}", base::format_count(static_cast<std::int64_t>(files.size()) - 1),
                          files.size() == 2 ? "" : "s", files.size() == 2 ? "s" : "", base::format_count(others_count));
    }
  }
  return text;
}

/// How often one process stalled the CPU: median distance of its stalls. Nothing with fewer than three, whose distance may be
/// chance.
std::optional<std::int64_t> period_ns(const Context& context, const Suspect& suspect) {
  constexpr std::size_t least_stalls = 3;
  if (suspect.stalls.size() < least_stalls) {
    return std::nullopt;
  }
  std::vector<std::int64_t> distances_ns;
  for (std::size_t i = 1; i < suspect.stalls.size(); ++i) {
    distances_ns.push_back(context.stalls[suspect.stalls[i]].start_ns - context.stalls[suspect.stalls[i - 1]].start_ns);
  }
  return shape::median(std::move(distances_ns));
}

std::string let_go_of(const PinningFileRecord& file) {
  const std::string zombies = fmt::format("the {} zombies it pins", base::format_count(file.memcg_count));
  // Only there is the file all there is of its pages; a file of a disk may be any program or data of the host's.
  if (file.filesystem == "tmpfs") {
    return fmt::format(
        "delete {} if nothing needs it: that frees {}; cut it 1 MiB at a time first, all at once stalls again and again", file.path,
        zombies);
  }
  return fmt::format("leave {} where it is: {} go by themselves when memory gets short and its page cache is reclaimed", file.path,
                     zombies);
}

std::vector<std::string> next_steps(const Context& context, const Tally& tally, const MemcgCounts& counts) {
  std::vector<std::string> steps;
  for (const Suspect& suspect : suspects(context, tally.claims)) {
    const Occupant& occupant = *suspect.occupant;
    if (!occupant.syscall_number || !evidence::syscall_reads_file(*occupant.syscall_number)) {
      continue;
    }
    const std::optional<std::int64_t> period = period_ns(context, suspect);
    const std::string how_often =
        period ? fmt::format("; it stalled this host about every {}", base::format_duration(*period)) : std::string{};
    steps.push_back(fmt::format("let {} read {} less often{}", task_name(occupant), base_name(occupant.file), how_often));
  }
  if (zombies_dominate(counts)) {
    const std::vector<PinningFileRecord>& files = context.evidence.pinning_files;
    const auto worst =
        std::max_element(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.memcg_count < b.memcg_count; });
    steps.push_back(worst == files.end() ? "find what keeps the zombies in memory: sudo stallscope census" : let_go_of(*worst));
  }
  steps.emplace_back("check with: sudo stallscope census (counts zombies, times memory.stat)");
  steps.emplace_back("read docs/rules/memcg-stat-flush.md: remedies, and kernels that flush faster");
  return steps;
}

void judge_confidence(const Tally& tally, const Coincidence& coincidence, Finding& finding) {
  const auto mostly = [&](std::int64_t part_ns) { return part_ns > tally.total_ns / 2; };
  const bool significant = coincidence.chance && *coincidence.chance < significance;
  if ((mostly(tally.by_file_ns) && mostly(tally.by_stack_ns)) ||
      ((mostly(tally.by_file_ns) || mostly(tally.by_stack_ns)) && mostly(tally.by_flush_ns) && significant)) {
    finding.confidence = Confidence::high;
    finding.confidence_reason = "two independent signs agree (file read, kernel stack, flush sections)";
  } else if (mostly(tally.by_file_ns) || mostly(tally.by_stack_ns)) {
    finding.confidence = Confidence::medium;
    finding.confidence_reason = "one sign only (file read or kernel stack)";
  } else {
    finding.confidence = Confidence::low;
    finding.confidence_reason = "flush sections overlap, but neither file nor stack confirms it for most of the time";
  }
}

}  // namespace

std::optional<Finding> memcg_stat_flush(const Context& context) {
  const Detective detective(context);
  Tally tally = tally_claims(context, detective);
  if (tally.claims.empty()) {
    return std::nullopt;
  }
  const MemcgCounts counts = memcg_counts(context.evidence);
  const Coincidence coincidence = test_coincidence(context, detective.sections());
  Finding finding;
  finding.cause = cause_of(tally, counts);
  judge_confidence(tally, coincidence, finding);
  finding.evidence_for.push_back(describe_overlap(context, tally, coincidence, counts));
  if (!tally.functions.empty()) {
    finding.evidence_for.push_back(fmt::format("the kernel stack is inside {}", largest(tally.functions)));
  }
  if (std::optional<std::string> zombies = describe_zombies(context, counts)) {
    finding.evidence_for.push_back(*std::move(zombies));
  }
  finding.other_causes = other_causes(context, {Check::napi_budget, Check::other_vectors, Check::steal, Check::prober});
  finding.next_steps = next_steps(context, tally, counts);
  finding.claims = std::move(tally.claims);
  return finding;
}

}  // namespace stallscope::diagnose::rules
