// SPDX-License-Identifier: Apache-2.0
#include "lab/together.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/text.h"
#include "lab/child_process.h"
#include "lab/faults/catalogue.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::Result;
using base::Status;

bool makes_zombies(const Fault& fault) {
  return std::any_of(fault.parameters.begin(), fault.parameters.end(),
                     [](const Parameter& parameter) { return parameter.name == "zombies"; });
}

Result<ChildProcess> start(const FaultRun& run, const RunOutput& output) {
  return ChildProcess::start("lab-together", [&](const ReportPipe&) -> Status {
    Result<StopSignals> stop = StopSignals::block();
    return stop ? run.fault->run(run.options, *stop, output) : stop.error();
  });
}

/// Waits until one of them ends or a stop is asked for.
void wait_for_any(const std::list<ChildProcess>& children, const StopSignals& stop, bool stopping) {
  std::vector<pollfd> waits;
  for (const ChildProcess& child : children) {
    waits.push_back({child.fd(), POLLIN, 0});
  }
  // What has been obeyed stays readable.
  waits.push_back({stopping ? -1 : stop.fd(), POLLIN, 0});
  while (::poll(waits.data(), waits.size(), -1) < 0 && errno == EINTR) {
  }
}

}  // namespace

Result<std::vector<const Fault*>> find_faults(std::string_view ids) {
  std::vector<const Fault*> found;
  for (const std::string_view id : base::split(ids, '+')) {
    const Result<const Fault*> fault = find_fault(id);
    if (!fault) {
      return fault.error();
    }
    if (std::find(found.begin(), found.end(), *fault) != found.end()) {
      return Error{"run", std::string(ids), "a fault cannot run beside itself", ""};
    }
    found.push_back(*fault);
  }
  if (std::count_if(found.begin(), found.end(), [](const Fault* fault) { return makes_zombies(*fault); }) > 1) {
    return Error{"run", std::string(ids), "only one of them can make zombie memory cgroups", ""};
  }
  return found;
}

std::string join_ids(const std::vector<const Fault*>& faults) {
  std::string ids;
  for (const Fault* fault : faults) {
    ids.append(ids.empty() ? "" : "+").append(fault->id);
  }
  return ids;
}

Status run_together(std::vector<FaultRun> runs, StopSignals& stop, const RunOutput& output) {
  const std::int64_t start_ns = base::monotonic_ns();
  // Whose owner stays where it is.
  std::list<ChildProcess> children;
  Status ended = base::ok();
  for (std::size_t index = 0; index < runs.size(); ++index) {
    RunOptions& options = runs[index].options;
    options.own_cgroup = false;
    options.first_turn_ns =
        start_ns + options.period_ns * static_cast<std::int64_t>(index) / static_cast<std::int64_t>(runs.size());
    Result<ChildProcess> child = start(runs[index], output);
    if (!child) {
      ended = child.error();
      break;
    }
    children.push_back(std::move(*child));
  }
  bool stopping = false;
  const auto stop_all = [&] {
    stopping = true;
    for (const ChildProcess& child : children) {
      child.ask_to_stop();
    }
  };
  if (!ended) {
    stop_all();
  }
  while (!children.empty()) {
    wait_for_any(children, stop, stopping);
    if (!stopping && stop.requested()) {
      stop_all();
      continue;
    }
    const auto done = std::find_if(children.begin(), children.end(), [](const ChildProcess& child) {
      pollfd wait{child.fd(), POLLIN, 0};
      return ::poll(&wait, 1, 0) == 1;
    });
    if (done == children.end()) {
      continue;
    }
    Status finished = done->finish();
    children.erase(done);
    if (!finished && ended) {
      ended = finished;
      stop_all();
    }
  }
  return ended;
}

}  // namespace stallscope::lab
