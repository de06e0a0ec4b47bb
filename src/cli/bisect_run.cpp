// SPDX-License-Identifier: Apache-2.0
#include "cli/bisect_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/units.h"
#include "cli/interrupt.h"
#include "cli/prober_thread.h"
#include "cli/terminal.h"

namespace stallscope::cli {
namespace {

using base::Result;
using bisect::Observation;

constexpr auto turn_length = std::chrono::milliseconds(100);
constexpr std::int64_t settle_every_ns = 500 * base::ns_per_ms;
/// After its timeout a probe's fate may take so long to get here.
constexpr std::int64_t delivery_slack_ns = 500 * base::ns_per_ms;

/// The program on each host that probes, which is sent there once for all of its rungs.
class NodePrograms {
 public:
  /// Blocks while it is sent.
  Result<std::shared_ptr<const NodeProgram>> on(const NodeAccess& node) {
    std::shared_ptr<const NodeProgram>& program = by_host_[node.host];
    if (!program) {
      Result<std::string> name = unguessable_name();
      if (!name) {
        return name.error();
      }
      Result<NodeProgram> provided = NodeProgram::provide(node, *std::move(name));
      if (!provided) {
        return provided.error();
      }
      program = std::make_shared<const NodeProgram>(*std::move(provided));
    }
    return program;
  }

 private:
  std::map<std::string, std::shared_ptr<const NodeProgram>> by_host_;
};

/// Another host's probers, each with its rung.
struct FarProberOfRung {
  std::size_t rung = 0;
  FarProber prober;
  bool lost = false;
};

class BisectRun {
 public:
  BisectRun(const BisectRunOptions& options, probe::Prober& prober, std::vector<FarProberOfRung>& far_probers)
      : options_(options),
        prober_(prober),
        far_probers_(far_probers),
        tracker_(options.path.rungs.size(), {.late_after_ns = options.late_after_ns, .interval_ns = options.prober.interval_ns}),
        terminal_(describe_terminal(STDERR_FILENO)) {}

  Result<BisectReport> run() {
    const std::int64_t start_ns = base::monotonic_ns();
    ProberThread thread(prober_);
    std::int64_t settled_at_ns = start_ns;
    bool stopping = false;
    bool interrupted = false;
    while (true) {
      const bool finished = thread.finished();
      for (const evidence::ProbeRecord& probe : thread.take().probes) {
        tracker_.add({.rung = options_.rung_of_target[prober_.target_of(probe.sequence)],
                      .intended_ns = probe.intended_ns,
                      .sent_ns = probe.sent_ns,
                      .received_ns = probe.answered() ? probe.received_ns : Observation::lost});
      }
      add_far_probes(start_ns);
      const std::int64_t now_ns = base::monotonic_ns();
      if (finished || now_ns - settled_at_ns >= settle_every_ns) {
        settled_at_ns = now_ns;
        settle(now_ns - options_.prober.timeout_ns - slack_ns(), finished);
        show_progress(now_ns - start_ns);
      }
      if (finished) {
        break;
      }
      if (!stopping && (InterruptGuard::requested() || verdict_.decided())) {
        stopping = true;
        interrupted = !verdict_.decided();
        thread.request_stop();
        for (FarProberOfRung& far : far_probers_) {
          far.prober.request_stop();
        }
      }
      std::this_thread::sleep_for(turn_length);
    }
    clear_progress();
    if (!thread.summary()) {
      return thread.summary().error();
    }
    return report(*thread.summary(), interrupted);
  }

 private:
  /// The hosts' clocks are compared before anything of a far rung is believed.
  [[nodiscard]] std::int64_t slack_ns() const { return delivery_slack_ns + (far_probers_.empty() ? 0 : FarProbeReader::align_ns); }

  void add_far_probes(std::int64_t start_ns) {
    for (FarProberOfRung& far : far_probers_) {
      if (far.lost) {
        continue;
      }
      const Result<std::vector<FarProbe>> probes = far.prober.take();
      if (!probes) {
        lose(far, probes.error(), start_ns);
        continue;
      }
      for (const FarProbe& probe : *probes) {
        tracker_.add({.rung = far.rung,
                      .intended_ns = probe.intended_ns,
                      .sent_ns = probe.sent_ns,
                      .received_ns = probe.received_ns.value_or(Observation::lost),
                      .from_elsewhere = true});
      }
    }
  }

  /// The others go on: what they tell apart needs no far rung.
  void lose(FarProberOfRung& far, const base::Error& error, std::int64_t start_ns) {
    far.lost = true;
    const std::int64_t now_ns = base::monotonic_ns();
    // What was late when the connection broke had not been told yet: without it, the rung would look punctual.
    tracker_.add_absence(far.rung, now_ns - options_.prober.timeout_ns - slack_ns(), now_ns);
    const bool decided = is_decided(far.rung);
    lost_undecided_.set(far.rung, !decided);
    far_gaps_.push_back(
        {fmt::format("rung {} after {}", options_.path.rungs[far.rung].name, base::format_duration(now_ns - start_ns)),
         fmt::format("its prober at {}: {}", far.prober.host(), error.reason),
         decided ? "What it saw before counts." : "It had not seen enough and is left out."});
  }

  /// Whether no cause waits for more stalls to tell whether they hit this rung.
  [[nodiscard]] bool is_decided(std::size_t rung) const {
    return !verdict_.causes.empty() &&
           std::all_of(verdict_.causes.begin(), verdict_.causes.end(), [rung](const bisect::Cause& cause) {
             return cause.tests[rung].decision() != bisect::SequentialTest::Decision::open;
           });
  }

  void settle(std::int64_t horizon_ns, bool all) {
    const std::vector<bisect::Stall> more = tracker_.settle(horizon_ns, all);
    // A sequential test ends at its decision: what the last probes still tell would only open it again.
    if (verdict_.decided()) {
      return;
    }
    stalls_.insert(stalls_.end(), more.begin(), more.end());
    const std::int64_t observed_ns = tracker_.settled_ns() - tracker_.first_ns();
    rungs_ = tracker_.rungs();
    verdict_ = bisect::compare(options_.path, stalls_, bisect::silent_rungs(rungs_) | lost_undecided_, observed_ns);
  }

  BisectReport report(const probe::ProberSummary& summary, bool interrupted) const {
    BisectReport report;
    report.path = options_.path;
    report.verdict = verdict_;
    report.rungs = rungs_;
    report.silent = bisect::silent_rungs(report.rungs);
    report.loss = bisect::compare_loss(report.path, report.rungs, report.silent);
    report.interval_ns = options_.prober.interval_ns;
    report.late_after_ns = options_.late_after_ns;
    report.own_stall_count = tracker_.own_stall_count();
    report.own_stalled_ns = tracker_.own_stalled_ns();
    report.worst_own_stall_ns = tracker_.worst_own_stall_ns();
    report.stalls_set_aside = tracker_.stalls_set_aside();
    report.interrupted = interrupted;
    for (const probe::ProbeErrorCount& error : summary.errors) {
      const std::string from = error.reporter.family == AF_UNSPEC ? "" : " from " + probe::address_text(error.reporter);
      report.errors.push_back(fmt::format("{} times: {}{}.", base::format_count(error.count), error.what, from));
    }
    report.gaps = prober_.gaps();
    report.gaps.insert(report.gaps.end(), far_gaps_.begin(), far_gaps_.end());
    return report;
  }

  void show_progress(std::int64_t elapsed_ns) const {
    if (terminal_.interactive) {
      fmt::print(stderr, "\r\x1b[K{}",
                 bisect_progress(options_.path, verdict_, elapsed_ns, options_.prober.duration_ns, terminal_.width));
      (void)std::fflush(stderr);
    }
  }
  void clear_progress() const {
    if (terminal_.interactive) {
      (void)std::fputs("\r\x1b[K", stderr);
    }
  }

  const BisectRunOptions& options_;
  probe::Prober& prober_;
  std::vector<FarProberOfRung>& far_probers_;
  bisect::StallTracker tracker_;
  std::vector<bisect::Stall> stalls_;
  bisect::Verdict verdict_;
  /// Of the same time as the verdict.
  std::vector<bisect::RungCounts> rungs_;
  std::vector<evidence::GapRecord> far_gaps_;
  /// Rungs whose far prober was lost before it had told enough: not waited for.
  bisect::RungSet lost_undecided_;
  Terminal terminal_;
};

}  // namespace

Result<BisectReport> run_bisect(const BisectRunOptions& options) {
  Result<probe::Prober> prober = probe::Prober::open(options.prober);
  if (!prober) {
    return prober.error();
  }
  NodePrograms programs;
  std::vector<FarProberOfRung> far_probers;
  for (const FarRung& far : options.far_rungs) {
    Result<std::shared_ptr<const NodeProgram>> program = programs.on(far.node);
    if (!program) {
      return program.error();
    }
    Result<FarProber> started = FarProber::start(*std::move(program), far.prober);
    if (!started) {
      return started.error();
    }
    far_probers.push_back({far.rung, *std::move(started)});
  }
  return BisectRun(options, *prober, far_probers).run();
}

}  // namespace stallscope::cli
