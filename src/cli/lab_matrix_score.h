// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "diagnose/diagnosis.h"
#include "evidence/records.h"

// Compares what the lab caused with what was diagnosed. Pure.
namespace stallscope::cli {

/// A stall as the lab's ground truth has it. Nothing: it does not say.
struct TrueStall {
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  std::int32_t cpu = -1;
  std::string rule;
  std::string mode;
  std::optional<std::int32_t> pid;
  std::optional<std::string> syscall;
  std::optional<std::string> file;
  /// The times frame what was done; it stalled once or more often in between, for how long is not known.
  bool frames_stalls = false;
  /// From here to `end_ns` the lab's preparations may have had others stall packets.
  std::optional<std::int64_t> window_start_ns = std::nullopt;
  /// Somebody else did the harm this time, such as a worker of the kernel that came first: nothing is to be found, and what is
  /// found in the window is no mistake.
  bool by_others = false;
};

/// The mode of a true stall in which the receiving of packets is innocent: a finding has to name the rule, and no stall may be
/// seen.
inline constexpr std::string_view no_wait_mode = "none";

/// The stalls among the lines of a ground truth; other lines are passed over, and what is to be blamed on nothing: of that there is
/// nothing to find.
[[nodiscard]] std::vector<TrueStall> true_stalls(const std::vector<nlohmann::json>& lines);

/// Stalls that began or ended this close to an end of the recording may have been seen in part only, and are not counted.
inline constexpr std::int64_t matrix_edge_ns = 300'000'000;
/// A time in which the lab was at it.
struct LabTurn {
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
};

/// The turns of a fault or of its control, by the lines of a ground truth.
[[nodiscard]] std::vector<LabTurn> lab_turns(const std::vector<nlohmann::json>& lines);

/// The report's promise for the length of a stall. What the hypervisor took of it is added; and where the wait begins with a
/// packet, not with the fault, it may be shorter by the time from one probe to the next.
inline constexpr std::int64_t length_tolerance_ns = 2'000'000;
inline constexpr double length_tolerance_part = 0.05;

struct MatrixScore {
  /// True stalls that lie wholly in the recording, and of how many of them each was right.
  std::int64_t stall_count = 0;
  std::int64_t found_count = 0;
  std::int64_t cause_count = 0;
  std::int64_t mode_count = 0;
  std::int64_t cpu_count = 0;
  std::int64_t length_count = 0;
  /// Where the ground truth names a process, a system call or a file.
  std::int64_t holder_count = 0;
  std::int64_t file_count = 0;
  /// For each true stall what it was blamed on first; empty where it was not found.
  std::vector<std::string> blamed;
  /// Stalls that the lab did not cause and nobody outside of it is named for: invented, or of a control, the damage it should not
  /// do. And findings without a stall that nothing true asks for.
  std::int64_t invented_count = 0;
  /// What those were blamed on.
  std::vector<std::string> invented_causes;
  /// Stalls that the hypervisor or a process outside of the lab caused meanwhile: real, and no fault of the diagnosis.
  std::int64_t foreign_count = 0;

  /// Every true stall is right in every respect, and nothing was invented.
  [[nodiscard]] bool right() const;
};

/// `truth` is empty for a control. With `only_within`, what happened outside of these turns is left out: of a fault whose
/// preparations stall packets as well.
[[nodiscard]] MatrixScore score(const std::vector<TrueStall>& truth, const evidence::Evidence& evidence,
                                const diagnose::Diagnosis& diagnosis,
                                const std::optional<std::vector<LabTurn>>& only_within = std::nullopt);

}  // namespace stallscope::cli
