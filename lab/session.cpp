// SPDX-License-Identifier: Apache-2.0
#include "lab/session.h"

#include <unistd.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/process_lock.h"
#include "lab/culprit_cgroup.h"
#include "lab/faults/catalogue.h"
#include "lab/topology.h"
#include "lab/undo.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::Result;
using base::Status;

constexpr std::string_view lock_path = "/run/stallscope-lab.lock";

Result<base::ProcessLock> begin() {
  if (::geteuid() != 0) {
    return Error{"use the lab", "", "not root: it makes network namespaces and cgroups", "Run it with sudo."};
  }
  return base::ProcessLock::take(std::string(lock_path), "lab");
}

Result<bool> remove_fault_leftovers(const Progress& progress) {
  bool found = false;
  // Undoing first: it may need namespaces that are removed later.
  std::vector<std::function<Result<bool>()>> removals = {[&] { return undo_leftovers(progress); }, remove_culprit_cgroup};
  for (const Fault* fault : faults()) {
    if (fault->remove_leftovers != nullptr) {
      removals.emplace_back([&progress, fault] { return fault->remove_leftovers(progress); });
    }
  }
  for (const auto& remove : removals) {
    const Result<bool> removed = remove();
    if (!removed) {
      return removed.error();
    }
    found = found || *removed;
  }
  return found;
}

/// Leaves a topology alone that was kept on purpose, and says whether there is one.
Result<bool> remove_leftovers(const Progress& progress) {
  const Result<bool> found = remove_fault_leftovers(progress);
  if (!found) {
    return found.error();
  }
  if (*found) {
    progress("removed what an earlier run had left");
  }
  if (topology_is_kept()) {
    return true;
  }
  const Result<bool> removed = remove_topology();
  if (!removed) {
    return removed.error();
  }
  if (*removed) {
    progress("removed the network namespaces an earlier run had left");
  }
  return false;
}

}  // namespace

Status bring_up(int receive_cpu, std::optional<Overlay> overlay, const Progress& progress) {
  const Result<base::ProcessLock> lock = begin();
  if (!lock) {
    return lock.error();
  }
  const Result<bool> kept = remove_leftovers(progress);
  if (!kept) {
    return kept.error();
  }
  if (*kept) {
    return overlay ? Status(base::Error{"add", "a network of pods", "the lab's network is up already, as it is",
                                        "Remove it first: stallscope lab down"})
                   : set_receive_cpu(receive_cpu);
  }
  Result<Topology> topology = Topology::make(receive_cpu);
  if (!topology) {
    return topology.error();
  }
  if (overlay) {
    if (Status added = add_pod_network(*overlay); !added) {
      return added;
    }
  }
  return topology->keep();
}

Status run_faults(const std::vector<FaultRun>& runs, StopSignals& stop, const RunOutput& output) {
  const Result<base::ProcessLock> lock = begin();
  if (!lock) {
    return lock.error();
  }
  const Result<bool> kept = remove_leftovers(output.progress);
  if (!kept) {
    return kept.error();
  }
  const int receive_cpu = runs.front().options.receive_cpu;
  const auto run = [&] {
    return runs.size() == 1 ? runs.front().fault->run(runs.front().options, stop, output) : run_together(runs, stop, output);
  };
  if (*kept) {
    Status set = set_receive_cpu(receive_cpu);
    return set ? run() : set;
  }
  Result<Topology> topology = Topology::make(receive_cpu);
  if (!topology) {
    return topology.error();
  }
  Status ran = run();
  Status removed = topology->remove();
  return ran ? removed : ran;
}

Status with_lab(const Progress& progress, const std::function<Status()>& body) {
  const Result<base::ProcessLock> lock = begin();
  if (!lock) {
    return lock.error();
  }
  const Result<bool> kept = remove_leftovers(progress);
  return kept ? body() : Status(kept.error());
}

Status take_down(const Progress& progress) {
  const Result<base::ProcessLock> lock = begin();
  if (!lock) {
    return lock.error();
  }
  const Result<bool> found = remove_fault_leftovers(progress);
  if (!found) {
    return found.error();
  }
  const Result<bool> removed = remove_topology();
  if (!removed) {
    return removed.error();
  }
  progress(*found || *removed ? "the lab is down" : "there was no lab");
  return base::ok();
}

}  // namespace stallscope::lab
