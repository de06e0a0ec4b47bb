// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "lab/faults/fault.h"
#include "lab/stop_signals.h"

// The ground truth: what the lab caused, and when, as one JSON object per line. Every fault frames it alike:
//   ready    once everything is in place, half a period before the first stall
//   stall    one for each, when it is over; with --healthy a control line instead, of the same form
//   end      last, with how many there were
// A fault may add fields of its own. Where its line frames what was done, and stalls come and go in between, it has
// "frames_stalls". Times are of CLOCK_MONOTONIC.
namespace stallscope::lab {

/// Keys in the order a person reads them.
using Json = nlohmann::ordered_json;

/// One stall that was caused, or what the control did in its place.
struct Stall {
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  /// Fields of the fault's own. Those named as a common field take its place ("cpu" or "pid" where it differs from the culprit's).
  Json extras = Json::object();
};

/// What stays the same from stall to stall: who causes it, and what it is to be blamed on.
struct Culprit {
  const Fault* fault = nullptr;
  pid_t pid = 0;
  int cpu = 0;
  std::string comm;
  /// The system call the stall happens in and the file it is given; null in the output where empty.
  std::string syscall;
  std::string file;
};

[[nodiscard]] std::string line_of(const Json& json);
/// With the value of each of the fault's settings: "zombies", and durations as "length_ns".
[[nodiscard]] std::string ready_line(const Culprit& culprit, const RunOptions& options, const Json& extras);
[[nodiscard]] std::string stall_line(const Culprit& culprit, const Stall& stall);
/// Blames nothing.
[[nodiscard]] std::string control_line(const Culprit& culprit, const Stall& stall, std::string_view type = "control");
/// `count_name`: "stalls", or what the fault counts instead.
[[nodiscard]] std::string end_line(std::int64_t count, std::string_view count_name = "stalls");

/// Writes one line at once. Waits for room first, so that a reader of the ground truth that has stopped reading cannot hold up
/// the end of the lab.
[[nodiscard]] base::Status write_line(int fd, std::string line, StopSignals& stop);

}  // namespace stallscope::lab
