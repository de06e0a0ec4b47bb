// SPDX-License-Identifier: Apache-2.0
#include "diagnose/notes.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/units.h"
#include "diagnose/arithmetic.h"
#include "diagnose/episodes.h"
#include "diagnose/memcg_facts.h"
#include "diagnose/stalls.h"
#include "diagnose/target_shapes.h"

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;
using evidence::StatReadRecord;

std::optional<std::string> zombie_note(const Evidence& evidence, const Diagnosis& diagnosis) {
  const std::optional<std::int64_t> dying = memcg_counts(evidence).dying;
  const bool blamed = std::any_of(diagnosis.findings.begin(), diagnosis.findings.end(),
                                  [](const Finding& finding) { return finding.rule_id == "memcg-stat-flush"; });
  if (!dying || *dying < notable_zombie_count || blamed) {
    return std::nullopt;
  }
  const std::string present = fmt::format("{} zombie memory cgroups are present", base::format_count(*dying));
  if (evidence.stat_reads.empty()) {
    return present + "; what reading memory.stat costs was not measured, so whether they do harm is unknown.";
  }
  const auto slowest = std::max_element(evidence.stat_reads.begin(), evidence.stat_reads.end(),
                                        [](const StatReadRecord& a, const StatReadRecord& b) { return a.worst_ns < b.worst_ns; });
  if (slowest->worst_ns < late_floor_ns) {
    return fmt::format("{}; a memory.stat read costs {}: harmless now.", present, base::format_duration(slowest->median_ns));
  }
  return fmt::format("{}; reading {} took up to {}: enough to stall the CPU it is read on.", present, slowest->path,
                     base::format_duration(slowest->worst_ns));
}

std::optional<std::string> prober_note(const Evidence& evidence, const Diagnosis& diagnosis) {
  if (diagnosis.probes.own_late_count == 0) {
    return std::nullopt;
  }
  std::set<std::int32_t> cpus;
  std::int64_t explained_count = 0;
  for (const Stall& stall : diagnosis.stalls) {
    if (stall.prober_delayed_count > 0 && stall.cpu) {
      cpus.insert(*stall.cpu);
      explained_count += stall.prober_delayed_count;
    }
  }
  const std::int64_t count = diagnosis.probes.own_late_count;
  std::string text = fmt::format("{} probe{} late because the prober itself sent {} up to {} ms late, not because of the network",
                                 base::format_count(count), count == 1 ? " was" : "s were", count == 1 ? "it" : "them",
                                 base::format_ms(diagnosis.probes.worst_own_lateness_ns));
  if (cpus.empty()) {
    const std::string why = evidence.run.traced ? "no recorded wait of its CPU says why" : "the kernel was not traced to say why";
    return fmt::format("{}; {}.", text, why);
  }
  std::string names;
  for (const std::int32_t cpu : cpus) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", cpu);
  }
  return fmt::format("{}; for {} of them the prober was held up on CPU {} by a stall listed above.", text,
                     base::format_count(explained_count), names);
}

std::optional<std::string> noise_note(const Diagnosis& diagnosis) {
  if (diagnosis.probes.late_after_ns - diagnosis.probes.baseline_rtt_ns <= late_floor_ns) {
    return std::nullopt;
  }
  return fmt::format(
      "RTTs vary by themselves (median {} ms, standard deviation about {} ms), so only replies later than {} ms count "
      "as late; shorter stalls are not told from noise.",
      base::format_ms(diagnosis.probes.baseline_rtt_ns), base::format_ms(diagnosis.probes.noise_ns),
      base::format_ms(diagnosis.probes.late_after_ns));
}

std::optional<std::string> lost_note(const Diagnosis& diagnosis) {
  const std::int64_t lost = diagnosis.probes.lost_count;
  if (lost == 0) {
    return std::nullopt;
  }
  std::int64_t during_stalls = 0;
  for (const Stall& stall : diagnosis.stalls) {
    during_stalls = saturating_add(during_stalls, stall.lost_probe_count);
  }
  if (during_stalls == 0) {
    return fmt::format("{} probe{} never answered, none during a stall: that is loss, not lateness.", base::format_count(lost),
                       lost == 1 ? " was" : "s were");
  }
  return fmt::format("{} probe{} never answered, {} of them sent during a stall.", base::format_count(lost),
                     lost == 1 ? " was" : "s were", base::format_count(std::min(during_stalls, lost)));
}

std::optional<std::string> other_waits_note(const Diagnosis& diagnosis) {
  const OtherWaits& others = diagnosis.other_waits;
  if (diagnosis.stalls.empty() || others.longest_ns < unprobed_report_ns) {
    return std::nullopt;
  }
  return fmt::format("{} other wait{} of at most {} {} recorded, in which no packet is known to have waited {} or more.",
                     base::format_count(others.count), others.count == 1 ? "" : "s", base::format_duration(others.longest_ns),
                     others.count == 1 ? "was" : "were", base::format_duration(unprobed_report_ns));
}

std::optional<std::int64_t> setting(const Evidence& evidence, std::string_view name) {
  const auto found = std::find_if(evidence.settings.begin(), evidence.settings.end(),
                                  [&](const evidence::SettingRecord& record) { return record.name == name; });
  return found == evidence.settings.end() ? std::nullopt : std::optional(found->value);
}

/// What khungtaskd will do about a task that stays blocked (kernel/hung_task.c).
std::string hung_task_consequence(const Evidence& evidence) {
  const std::optional<std::int64_t> timeout_s = setting(evidence, "kernel.hung_task_timeout_secs");
  if (!timeout_s) {
    return "what this kernel does about hung tasks is not known";
  }
  if (*timeout_s <= 0) {
    return "this kernel does not look for hung tasks (kernel.hung_task_timeout_secs is 0)";
  }
  const std::optional<std::int64_t> panic = setting(evidence, "kernel.hung_task_panic");
  if (!panic) {
    return fmt::format("after {} s the kernel takes it for hung; whether it then panics is not known",
                       base::format_count(*timeout_s));
  }
  return *panic == 0
             ? fmt::format("after {} s the kernel logs it as hung (kernel.hung_task_panic is 0)", base::format_count(*timeout_s))
             : fmt::format("after {} s THE KERNEL PANICS (kernel.hung_task_panic is {}), unless a fatal signal can end the wait",
                           base::format_count(*timeout_s), base::format_count(*panic));
}

std::optional<std::string> hung_task_note(const Evidence& evidence) {
  const std::vector<evidence::BlockedTaskRecord>& tasks = evidence.blocked_tasks;
  const auto longest =
      std::max_element(tasks.begin(), tasks.end(), [](const auto& a, const auto& b) { return a.blocked_ns < b.blocked_ns; });
  if (longest == tasks.end() || longest->blocked_ns < notable_block_ns) {
    return std::nullopt;
  }
  const auto others_count =
      std::count_if(tasks.begin(), tasks.end(), [](const auto& task) { return task.blocked_ns >= notable_block_ns; }) - 1;
  const std::string others =
      others_count == 0 ? std::string{} : fmt::format(" and {} other{}", others_count, others_count == 1 ? "" : "s");
  return fmt::format(
      "{} (pid {}){} did not run during the recording, in uninterruptible sleep{} for {} or more: {}. See "
      "docs/rules/hung-task.md.",
      longest->comm, longest->pid, others, longest->waits_in.empty() ? "" : " in " + longest->waits_in,
      base::format_duration(longest->blocked_ns), hung_task_consequence(evidence));
}

std::optional<std::string> remote_note(const Evidence& evidence, const Diagnosis& diagnosis) {
  const evidence::RunRecord& run = evidence.run;
  const bool advised = std::any_of(diagnosis.findings.begin(), diagnosis.findings.end(),
                                   [](const Finding& finding) { return finding.rule_id == "unexplained"; });
  if (run.target.empty() || run.target_is_local || advised) {
    return std::nullopt;
  }
  return fmt::format(
      "{} is another host: its kernel was not watched. To see what holds it up, run there: sudo stallscope diagnose "
      "--for 20s",
      run.target);
}

}  // namespace

std::vector<std::string> make_notes(const Evidence& evidence, const Diagnosis& diagnosis) {
  std::vector<std::string> notes;
  const auto add = [&](std::optional<std::string> note) {
    if (note) {
      notes.push_back(*std::move(note));
    }
  };
  add(prober_note(evidence, diagnosis));
  add(lost_note(diagnosis));
  add(noise_note(diagnosis));
  add(other_waits_note(diagnosis));
  add(zombie_note(evidence, diagnosis));
  add(hung_task_note(evidence));
  add(remote_note(evidence, diagnosis));
  for (std::string& note : shape_notes(evidence)) {
    notes.push_back(std::move(note));
  }
  return notes;
}

std::vector<evidence::GapRecord> derived_gaps(const Evidence& evidence, const Diagnosis& diagnosis, std::int64_t unusable_count) {
  std::vector<evidence::GapRecord> gaps;
  if (!evidence.run.traced) {
    gaps.push_back({"the kernel", "no tracer ran", "whether packets waited in it, and why, is unknown"});
  }
  const bool by_time = std::any_of(diagnosis.stalls.begin(), diagnosis.stalls.end(),
                                   [](const Stall& stall) { return stall.joined_by == JoinedBy::time; });
  if (by_time) {
    gaps.push_back({"some late probes' own packets in the kernel", "no record of them has a matching wait",
                    "they were joined to waits by time alone"});
  }
  if (unusable_count > 0) {
    gaps.push_back({fmt::format("{} records", base::format_count(unusable_count)), "their times are impossible",
                    "they were left out of the diagnosis"});
  }
  return gaps;
}

}  // namespace stallscope::diagnose
