// SPDX-License-Identifier: Apache-2.0
#include "lab/culprit.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/clock.h"
#include "base/files.h"
#include "lab/culprit_cgroup.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::Result;
using base::Status;

Status report(const CulpritPlan& plan, const Culprit& culprit, const Turn& turn, const ReportPipe& reports) {
  for (const Stall& stall : turn.stalls) {
    const std::string line = plan.options.healthy ? control_line(culprit, stall, plan.control_type) : stall_line(culprit, stall);
    if (Status sent = reports.send(line); !sent) {
      return sent;
    }
  }
  return base::ok();
}

Status act_on_schedule(const CulpritPlan& plan, const Culprit& culprit, const StallAction& act, StopSignals& stop,
                       const ReportPipe& reports) {
  const std::int64_t period_ns = plan.options.period_ns;
  const std::int64_t end_ns = base::monotonic_ns() + plan.options.duration_ns;
  // Half a period's head start for whoever waits for the ready line.
  const std::int64_t earliest_ns = base::monotonic_ns() + period_ns / 2;
  std::int64_t next_ns = earliest_ns;
  if (plan.options.first_turn_ns > 0) {
    const std::int64_t late_ns = std::max<std::int64_t>(0, earliest_ns - plan.options.first_turn_ns);
    next_ns = plan.options.first_turn_ns + (late_ns + period_ns - 1) / period_ns * period_ns;
  }
  while (next_ns < end_ns) {
    if (stop.wait_until(next_ns)) {
      return base::ok();
    }
    const Result<Turn> turn = act();
    if (!turn) {
      return turn.error();
    }
    if (Status reported = report(plan, culprit, *turn, reports); !reported) {
      return reported;
    }
    next_ns += period_ns + turn->shift_ns;
    while (next_ns < base::monotonic_ns()) {
      next_ns += period_ns;
    }
  }
  static_cast<void>(stop.wait_until(end_ns));
  return base::ok();
}

/// The body of the culprit's process.
Status be_culprit(const CulpritPlan& plan, const std::string& cgroup_path, const PrepareCulprit& prepare,
                  const ReportPipe& reports) {
  Result<StopSignals> stop = StopSignals::block();
  if (!stop) {
    return stop.error();
  }
  if (!cgroup_path.empty()) {
    if (Status joined = base::write_file(cgroup_path + "/cgroup.procs", "0"); !joined) {
      return joined;
    }
  }
  if (Status pinned = pin_to_cpu(plan.options.cpu); !pinned) {
    return pinned;
  }
  const Result<PreparedCulprit> prepared = prepare();
  if (!prepared) {
    return prepared.error();
  }
  const Culprit culprit{.fault = &plan.fault,
                        .pid = ::getpid(),
                        .cpu = plan.options.cpu,
                        .comm = plan.comm,
                        .syscall = plan.syscall,
                        .file = plan.file};
  if (Status sent = reports.send(ready_line(culprit, plan.options, prepared->extras)); !sent) {
    return sent;
  }
  return act_on_schedule(plan, culprit, prepared->act, *stop, reports);
}

/// Passes the lines of a child on until it ends, and adds the end line. Its first line is taken for the ready line. A stop is
/// passed to the child, which may finish what it is in; on a busy machine a turn takes several times as long.
Status relay(ChildProcess& child, const CulpritPlan& plan, StopSignals& stop, const RunOutput& output) {
  constexpr std::int64_t patience = 4;
  const std::int64_t stop_bound_ns = 5 * base::ns_per_s + patience * plan.fault.turn_ns;
  std::int64_t deadline_ns = ChildProcess::no_deadline;
  std::int64_t lines_count = 0;
  bool stopping = false;
  std::string line;
  while (true) {
    // Not only where the wait for a line is woken: a stop may also have come, and been taken note of, while a line was written.
    if (!stopping && stop.requested()) {
      stopping = true;
      child.ask_to_stop();
      deadline_ns = base::monotonic_ns() + stop_bound_ns;
    }
    switch (child.next_line(line, stopping ? -1 : stop.fd(), deadline_ns)) {
      case ChildProcess::Event::line:
        ++lines_count;
        if (Status written = write_line(output.ground_truth_fd, line, stop); !written) {
          return written;
        }
        break;
      case ChildProcess::Event::woken:
        break;
      case ChildProcess::Event::timeout:
        return Error{"stop", "the process that causes the fault", "it did not end in time", ""};
      case ChildProcess::Event::ended:
        if (Status finished = child.finish(); !finished) {
          return finished;
        }
        return write_line(output.ground_truth_fd, end_line(lines_count > 0 ? lines_count - 1 : 0, plan.count_name), stop);
    }
  }
}

}  // namespace

Status run_culprit(const CulpritPlan& plan, const PrepareCulprit& prepare, StopSignals& stop, const RunOutput& output) {
  std::optional<CulpritCgroup> own_cgroup;
  if (!plan.cgroup_path && plan.options.own_cgroup) {
    Result<CulpritCgroup> made = CulpritCgroup::make();
    if (!made) {
      return made.error();
    }
    own_cgroup.emplace(std::move(*made));
  }
  Status ran = base::ok();
  {
    const std::string cgroup_path = own_cgroup ? own_cgroup->path() : plan.cgroup_path.value_or("");
    Result<ChildProcess> child =
        ChildProcess::start(plan.comm, [&](const ReportPipe& reports) { return be_culprit(plan, cgroup_path, prepare, reports); });
    if (!child) {
      return child.error();
    }
    ran = relay(*child, plan, stop, output);
  }
  Status removed = own_cgroup ? own_cgroup->remove() : base::ok();
  return ran ? removed : ran;
}

Status pin_to_cpu(int cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(static_cast<unsigned>(cpu), &cpus);
  if (::sched_setaffinity(0, sizeof cpus, &cpus) != 0) {
    return base::errno_error("run on", fmt::format("CPU {}", cpu), errno);
  }
  return base::ok();
}

}  // namespace stallscope::lab
