// SPDX-License-Identifier: Apache-2.0
#include "cli/bisect_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/units.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"

namespace stallscope::cli {
namespace {

using base::Result;
using bisect::Observation;

constexpr auto turn_length = std::chrono::milliseconds(100);
constexpr std::int64_t settle_every_ns = 500 * base::ns_per_ms;
/// After its timeout a probe's fate may take so long to get here.
constexpr std::int64_t delivery_slack_ns = 500 * base::ns_per_ms;

/// The prober on a thread of its own: what is done with its records must not make it late.
class ProbingThread {
 public:
  explicit ProbingThread(probe::Prober& prober) : prober_(prober) {
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }
  void request_stop() { thread_.request_stop(); }
  [[nodiscard]] bool finished() const { return finished_.load(std::memory_order_acquire); }
  [[nodiscard]] std::vector<Observation> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(observations_, {});
  }
  /// Only once finished() is true.
  [[nodiscard]] const Result<probe::ProberSummary>& summary() const { return summary_; }

 private:
  void run(const std::stop_token& stop) {
    summary_ = prober_.run(stop, [this](const probe::ProbeBatch& batch) {
      const std::lock_guard lock(mutex_);
      for (const evidence::ProbeRecord& probe : batch.probes) {
        observations_.push_back({.rung = prober_.target_of(probe.sequence),
                                 .intended_ns = probe.intended_ns,
                                 .sent_ns = probe.sent_ns,
                                 .received_ns = probe.answered() ? probe.received_ns : Observation::lost});
      }
    });
    finished_.store(true, std::memory_order_release);
  }

  probe::Prober& prober_;
  std::mutex mutex_;
  std::vector<Observation> observations_;
  Result<probe::ProberSummary> summary_ = base::Error{"probe", "", "not finished", ""};
  std::atomic<bool> finished_ = false;
  std::jthread thread_;  // last: it ends before what it uses
};

class BisectRun {
 public:
  BisectRun(const BisectRunOptions& options, probe::Prober& prober)
      : options_(options),
        prober_(prober),
        tracker_(options.path.rungs.size(), {.late_after_ns = options.late_after_ns}),
        terminal_(describe_terminal(STDERR_FILENO)) {}

  Result<BisectReport> run() {
    const std::int64_t start_ns = base::monotonic_ns();
    ProbingThread thread(prober_);
    std::int64_t settled_at_ns = start_ns;
    bool stopping = false;
    bool interrupted = false;
    while (true) {
      // Read first: what was handed over before it finished is then taken below.
      const bool finished = thread.finished();
      for (const Observation& observation : thread.take()) {
        tracker_.add(observation);
      }
      const std::int64_t now_ns = base::monotonic_ns();
      if (finished || now_ns - settled_at_ns >= settle_every_ns) {
        settled_at_ns = now_ns;
        settle(now_ns - options_.prober.timeout_ns - delivery_slack_ns, finished);
        show_progress(now_ns - start_ns);
      }
      if (finished) {
        break;
      }
      if (!stopping && (InterruptGuard::requested() || verdict_.decided())) {
        stopping = true;
        interrupted = !verdict_.decided();
        thread.request_stop();
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
  void settle(std::int64_t horizon_ns, bool all) {
    const std::vector<bisect::Stall> more = tracker_.settle(horizon_ns, all);
    // A sequential test ends at its decision: what the last probes still tell would only open it again.
    if (verdict_.decided()) {
      return;
    }
    stalls_.insert(stalls_.end(), more.begin(), more.end());
    const std::int64_t observed_ns = tracker_.settled_ns() - tracker_.first_ns();
    verdict_ = bisect::compare(options_.path, stalls_, bisect::silent_rungs(tracker_.rungs()), observed_ns);
  }

  BisectReport report(const probe::ProberSummary& summary, bool interrupted) const {
    BisectReport report;
    report.path = options_.path;
    report.verdict = verdict_;
    report.rungs = tracker_.rungs();
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
  bisect::StallTracker tracker_;
  std::vector<bisect::Stall> stalls_;
  bisect::Verdict verdict_;
  Terminal terminal_;
};

}  // namespace

Result<BisectReport> run_bisect(const BisectRunOptions& options) {
  Result<probe::Prober> prober = probe::Prober::open(options.prober);
  if (!prober) {
    return prober.error();
  }
  return BisectRun(options, *prober).run();
}

}  // namespace stallscope::cli
