// SPDX-License-Identifier: Apache-2.0
#include "cli/lab_matrix_score.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "diagnose/arithmetic.h"
#include "diagnose/stacks.h"
#include "evidence/syscalls.h"
#include "lab/faults/fault.h"

namespace stallscope::cli {
namespace {

using diagnose::Diagnosis;
using diagnose::Share;
using diagnose::ShareKind;
using diagnose::Stall;
using evidence::Evidence;
using evidence::Occupant;
using Json = nlohmann::json;

constexpr std::string_view hypervisor_rule = "vcpu-stolen";

template <typename Value>
std::optional<Value> value_of(const Json& line, const char* name) {
  const auto field = line.find(name);
  return field == line.end() || field->is_null() ? std::nullopt : std::optional<Value>(field->get<Value>());
}

/// What somebody held longest.
const Share* held_share_of(const Evidence& evidence, const Stall& stall) {
  const auto share = std::find_if(stall.shares.begin(), stall.shares.end(),
                                  [&](const Share& one) { return diagnose::occupant_of(evidence, one) != nullptr; });
  return share == stall.shares.end() ? nullptr : &*share;
}

/// Who held longest.
const Occupant* holder_of(const Evidence& evidence, const Stall& stall) {
  const Share* share = held_share_of(evidence, stall);
  return share == nullptr ? nullptr : diagnose::occupant_of(evidence, *share);
}

std::int64_t hypervisor_ns(const Stall& stall) {
  std::int64_t sum_ns = 0;
  for (const Share& share : stall.shares) {
    sum_ns += share.kind == ShareKind::hypervisor ? share.length_ns : 0;
  }
  return sum_ns;
}

/// Kernel threads that may do what the lab caused to be done.
constexpr std::array<std::string_view, 4> working_for_others = {"kworker/", "ksoftirqd/", "kswapd", "napi/"};

/// Softirqs and the polls of threaded NAPI run with interrupts on, whatever the lab has them do: a long time without is not its
/// work.
constexpr std::array<std::string_view, 2> softirq_threads = {"ksoftirqd/", "napi/"};

/// Before and after a work item a worker does a few steps with interrupts off, which take no time (kernel/workqueue.c, 6.18). A
/// long time there is the hypervisor's, which did not run the CPU, or that of an item which ended with the last of its steps.
bool between_work_items(const Evidence& evidence, const Occupant& worker) {
  const std::vector<std::string>* const frames = diagnose::StackTable(evidence).frames(worker.stack_id);
  const std::string_view function = frames == nullptr ? std::string_view() : diagnose::working_function(*frames);
  return function == "process_one_work" || function == "worker_thread";
}

/// Not the lab's: the hypervisor's, or of a process with another name than the lab's culprits have, or of a kernel thread that
/// works for nobody. Or nobody was seen to hold the CPU: then the probes were late, as the kernel timed them, and no one is
/// accused; a shared machine stands still at times without accounting for it.
bool foreign(const Evidence& evidence, const Stall& stall) {
  const Occupant* holder = holder_of(evidence, stall);
  if (holder == nullptr) {
    return true;
  }
  if (holder->kernel_thread) {
    const bool interrupts_off = held_share_of(evidence, stall)->mode == evidence::WaitMode::hard_irqs_off;
    const auto is_named = [&](std::string_view prefix) { return holder->comm.starts_with(prefix); };
    const bool does_softirqs = std::any_of(softirq_threads.begin(), softirq_threads.end(), is_named);
    return (interrupts_off && (does_softirqs || between_work_items(evidence, *holder))) ||
           std::none_of(working_for_others.begin(), working_for_others.end(), is_named);
  }
  return holder->pid != 0 && !holder->comm.starts_with("lab-");
}

/// What most of a stall is blamed on.
std::string first_cause(const Diagnosis& diagnosis, std::size_t stall) {
  std::string cause = "nothing";
  std::int64_t most_ns = 0;
  for (const diagnose::Finding& finding : diagnosis.findings) {
    std::int64_t claimed_ns = 0;
    for (const diagnose::Claim& claim : finding.claims) {
      claimed_ns += claim.stall == stall ? claim.length_ns : 0;
    }
    if (claimed_ns > most_ns) {
      most_ns = claimed_ns;
      cause = finding.rule_id;
    }
  }
  return cause;
}

/// With interrupts off the stall is as long as the fault. In every other mode it begins with the first packet that has to wait.
std::int64_t first_packet_ns(const Evidence& evidence, const TrueStall& truth) {
  return truth.mode == evidence::wait_mode_id(evidence::WaitMode::hard_irqs_off) ? 0 : evidence.run.probe_interval_ns;
}

bool length_agrees(const Evidence& evidence, const Stall& stall, const TrueStall& truth) {
  if (truth.frames_stalls) {
    return true;
  }
  const std::int64_t true_ns = truth.end_ns - truth.start_ns;
  const auto part_ns = static_cast<std::int64_t>(std::llround(length_tolerance_part * static_cast<double>(true_ns)));
  const std::int64_t tolerance_ns = std::max(length_tolerance_ns, part_ns) + hypervisor_ns(stall);
  const std::int64_t excess_ns = stall.length_ns() - true_ns;
  return excess_ns <= tolerance_ns && excess_ns >= -tolerance_ns - first_packet_ns(evidence, truth);
}

bool holder_agrees(const Occupant* holder, const TrueStall& truth) {
  if (!truth.pid) {
    return true;
  }
  const bool call_agrees =
      holder != nullptr &&
      (!truth.syscall || (holder->syscall_number && evidence::syscall_name(*holder->syscall_number) == *truth.syscall));
  return call_agrees && (holder->pid == *truth.pid || holder->tgid == *truth.pid);
}

void compare(const Evidence& evidence, const Diagnosis& diagnosis, std::size_t index, const TrueStall& truth, MatrixScore& result) {
  const Stall& stall = diagnosis.stalls[index];
  const Occupant* holder = holder_of(evidence, stall);
  ++result.found_count;
  result.blamed.push_back(first_cause(diagnosis, index));
  result.cause_count += result.blamed.back() == truth.rule ? 1 : 0;
  result.mode_count += stall.mode && evidence::wait_mode_id(*stall.mode) == truth.mode ? 1 : 0;
  result.cpu_count += stall.cpu == truth.cpu ? 1 : 0;
  result.length_count += length_agrees(evidence, stall, truth) ? 1 : 0;
  result.holder_count += holder_agrees(holder, truth) ? 1 : 0;
  result.file_count += !truth.file || (holder != nullptr && holder->file == *truth.file) ? 1 : 0;
}

/// What the lab did held no packet in a receive queue: a finding has to say so, and no stall.
void compare_finding(const Diagnosis& diagnosis, const TrueStall& truth, MatrixScore& result) {
  const bool found = std::any_of(diagnosis.findings.begin(), diagnosis.findings.end(),
                                 [&](const diagnose::Finding& finding) { return finding.rule_id == truth.rule; });
  result.blamed.push_back(found ? truth.rule : std::string());
  for (std::int64_t* count : {&result.found_count, &result.cause_count, &result.mode_count, &result.cpu_count, &result.length_count,
                              &result.holder_count, &result.file_count}) {
    *count += found ? 1 : 0;
  }
}

}  // namespace

std::vector<TrueStall> true_stalls(const std::vector<Json>& lines) {
  std::vector<TrueStall> stalls;
  for (const Json& line : lines) {
    if (value_of<std::string>(line, "type") != "stall" || value_of<std::string>(line, "rule") == lab::blames_nothing) {
      continue;
    }
    stalls.push_back({.start_ns = value_of<std::int64_t>(line, "start_ns").value_or(0),
                      .end_ns = value_of<std::int64_t>(line, "end_ns").value_or(0),
                      .cpu = value_of<std::int32_t>(line, "cpu").value_or(-1),
                      .rule = value_of<std::string>(line, "rule").value_or(""),
                      .mode = value_of<std::string>(line, "mode").value_or(""),
                      .pid = value_of<std::int32_t>(line, "pid"),
                      .syscall = value_of<std::string>(line, "syscall"),
                      .file = value_of<std::string>(line, "file"),
                      .frames_stalls = value_of<bool>(line, "frames_stalls").value_or(false),
                      .window_start_ns = value_of<std::int64_t>(line, "window_start_ns"),
                      .by_others = value_of<std::string>(line, "flushed_by") == "kernel-worker"});
  }
  return stalls;
}

bool MatrixScore::right() const {
  const auto counts = {found_count, cause_count, mode_count, cpu_count, length_count, holder_count, file_count};
  return invented_count == 0 &&
         std::all_of(counts.begin(), counts.end(), [this](std::int64_t count) { return count == stall_count; });
}

std::vector<LabTurn> lab_turns(const std::vector<Json>& lines) {
  std::vector<LabTurn> turns;
  for (const Json& line : lines) {
    const std::optional<std::int64_t> start_ns = value_of<std::int64_t>(line, "start_ns");
    const std::optional<std::int64_t> end_ns = value_of<std::int64_t>(line, "end_ns");
    if (start_ns && end_ns) {
      turns.push_back({*start_ns, *end_ns});
    }
  }
  return turns;
}

MatrixScore score(const std::vector<TrueStall>& truth, const Evidence& evidence, const Diagnosis& diagnosis,
                  const std::optional<std::vector<LabTurn>>& only_within) {
  const auto left_out = [&](const Stall& stall) {
    return only_within && std::none_of(only_within->begin(), only_within->end(), [&](const LabTurn& turn) {
             return diagnose::overlap_ns(stall.start_ns, stall.end_ns, turn.start_ns, turn.end_ns) > 0;
           });
  };
  MatrixScore result;
  std::vector<bool> caused(diagnosis.stalls.size(), false);
  for (const TrueStall& one : truth) {
    if (one.mode == no_wait_mode) {
      ++result.stall_count;
      compare_finding(diagnosis, one, result);
      continue;
    }
    // The longest counts; what else overlaps belongs to it. Where several are framed others may be longer, such as the kernel's own
    // flush of what the lab left pending.
    const auto is_better = [&](std::size_t index, std::size_t than) {
      const auto merit = [&](std::size_t stall) {
        return std::pair(one.frames_stalls && first_cause(diagnosis, stall) == one.rule, diagnosis.stalls[stall].length_ns());
      };
      return merit(index) > merit(than);
    };
    std::optional<std::size_t> best;
    for (std::size_t index = 0; index < diagnosis.stalls.size(); ++index) {
      const Stall& stall = diagnosis.stalls[index];
      if (diagnose::overlap_ns(stall.start_ns, stall.end_ns, one.window_start_ns.value_or(one.start_ns), one.end_ns) == 0) {
        continue;
      }
      const Occupant* holder = holder_of(evidence, stall);
      const bool in_stall = diagnose::overlap_ns(stall.start_ns, stall.end_ns, one.start_ns, one.end_ns) > 0;
      if (!in_stall && (holder == nullptr || !holder->kernel_thread)) {
        continue;
      }
      caused[index] = true;
      if (!in_stall) {
        continue;
      }
      if (!best || is_better(index, *best)) {
        best = index;
      }
    }
    const bool whole = one.start_ns > evidence.run.start_ns + matrix_edge_ns && one.end_ns < evidence.run.end_ns - matrix_edge_ns;
    if (!whole || one.by_others) {
      continue;
    }
    ++result.stall_count;
    if (best) {
      compare(evidence, diagnosis, *best, one, result);
    } else {
      result.blamed.emplace_back();
    }
  }
  for (std::size_t index = 0; index < diagnosis.stalls.size(); ++index) {
    if (caused[index]) {
      continue;
    }
    std::string cause = first_cause(diagnosis, index);
    if (cause == hypervisor_rule || foreign(evidence, diagnosis.stalls[index]) || left_out(diagnosis.stalls[index])) {
      ++result.foreign_count;
    } else {
      ++result.invented_count;
      result.invented_causes.push_back(std::move(cause));
    }
  }
  for (const diagnose::Finding& finding : diagnosis.findings) {
    const bool meant = std::any_of(truth.begin(), truth.end(), [&](const TrueStall& one) { return one.rule == finding.rule_id; });
    if (finding.claims.empty() && !meant) {
      ++result.invented_count;
      result.invented_causes.push_back(finding.rule_id);
    }
  }
  return result;
}

}  // namespace stallscope::cli
