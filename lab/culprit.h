// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "lab/child_process.h"
#include "lab/faults/fault.h"
#include "lab/ground_truth.h"
#include "lab/stop_signals.h"

// What most faults are made of: one process on one CPU that causes one stall per period and says so.
namespace stallscope::lab {

struct CulpritPlan {
  const Fault& fault;
  const RunOptions& options;
  /// Name of the process; at most 15 characters, beginning with "lab-".
  std::string comm;
  /// See Culprit.
  std::string syscall = {};
  std::string file = {};
  /// A cgroup to run in that is there already. By default one is made for the run: CulpritCgroup.
  std::optional<std::string> cgroup_path = std::nullopt;
  std::string_view control_type = "control";
  std::string_view count_name = "stalls";
};

/// What one turn of the culprit brought about.
struct Turn {
  /// Usually one. None where the kernel did not do this time what was asked of it.
  std::vector<Stall> stalls;
  /// Moves the schedule from here on: to step out of the phase of something else that is periodic.
  std::int64_t shift_ns = 0;
};

/// Once a period: causes a stall or, in the control, does the same without the damage.
using StallAction = std::function<base::Result<Turn>()>;

struct PreparedCulprit {
  StallAction act;
  /// For the ready line.
  Json extras = Json::object();
};

/// Runs in the culprit's process when it is named, in its cgroup and on its CPU: opens and loads all that a turn needs. What it
/// makes has to live in the action, and goes when the process does: descriptors, BPF programs, mappings, namespaces of its own.
using PrepareCulprit = std::function<base::Result<PreparedCulprit>()>;

/// Starts the process, has it act on an absolute schedule of one turn per period until the duration is over or a stop is asked
/// for, and passes what it reports on to the ground truth. A turn that has begun is always reported.
[[nodiscard]] base::Status run_culprit(const CulpritPlan& plan, const PrepareCulprit& prepare, StopSignals& stop,
                                       const RunOutput& output);

/// Binds the calling process to one CPU.
[[nodiscard]] base::Status pin_to_cpu(int cpu);

}  // namespace stallscope::lab
