// SPDX-License-Identifier: Apache-2.0
#include "cli/remedy_apply.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "base/text.h"
#include "census/memcg_counts.h"
#include "cli/commands.h"
#include "cli/compare.h"
#include "cli/interrupt.h"
#include "cli/recorder.h"
#include "cli/terminal.h"
#include "remedy/journal.h"
#include "remedy/pacer.h"
#include "report/compare.h"

namespace stallscope::cli {
namespace {

using base::Result;
using base::Status;

void tell(const std::string& text) {
  const std::string line = base::printable(text) + "\n";
  static_cast<void>(std::fwrite(line.data(), 1, line.size(), stderr));
}

std::optional<std::int64_t> count_memcgs() {
  const Result<std::string> table = base::read_file("/proc/cgroups");
  return table ? census::memory_cgroup_total(*table) : std::nullopt;
}

/// Whether its amounts are pages, and not one deed.
bool counts_pages(const remedy::Action& action) {
  return action.total() > 1;
}

class Application {
 public:
  Application(const ApplyOptions& options, remedy::Action& action, RemedyWatch& watch)
      : options_(options), action_(action), watch_(watch), pacer_(limits(options)) {}

  Status run();
  /// What ended it before all was done; empty: nothing.
  [[nodiscard]] const std::string& ended_by() const { return ended_by_; }
  [[nodiscard]] std::int64_t done() const { return done_; }
  [[nodiscard]] std::int64_t steps() const { return steps_; }

 private:
  static remedy::Pacer::Limits limits(const ApplyOptions& options) {
    remedy::Pacer::Limits limits;
    limits.allowed_ns = options.allowed_ns;
    return limits;
  }
  Result<std::int64_t> settle(std::optional<std::int64_t> before, std::int64_t amount);
  bool budget_ended(std::int64_t worst_ns);
  void show_progress();
  Status hold();

  const ApplyOptions& options_;
  remedy::Action& action_;
  RemedyWatch& watch_;
  remedy::Pacer pacer_;
  std::int64_t start_ns_ = base::monotonic_ns();
  std::int64_t shown_ns_ = 0;
  std::int64_t done_ = 0;
  std::int64_t steps_ = 0;
  std::string ended_by_;
};

/// What a step lets go of is freed later, by a worker after a grace period of RCU: that is when packets wait. So the harm of a step
/// is known when the kernel's count has gone down by what the step let go of, or has stopped going down.
Result<std::int64_t> Application::settle(std::optional<std::int64_t> before, std::int64_t amount) {
  constexpr std::int64_t look_ns = 10 * base::ns_per_ms;
  constexpr int most_idle_looks = 6;
  constexpr int most_looks = 100;
  std::int64_t worst_ns = 0;
  std::optional<std::int64_t> last = before;
  for (int idle = 0, looks = 0; looks < most_looks; ++looks) {
    const Result<std::int64_t> seen = watch_.worst_during(look_ns);
    if (!seen) {
      return seen.error();
    }
    worst_ns = std::max(worst_ns, *seen);
    const std::optional<std::int64_t> now = count_memcgs();
    idle = now == last ? idle + 1 : 0;
    last = now;
    if ((before && now && *now <= *before - amount) || idle >= most_idle_looks) {
      break;
    }
  }
  return worst_ns;
}

bool Application::budget_ended(std::int64_t worst_ns) {
  if (InterruptGuard::requested()) {
    ended_by_ = "stopped by a signal";
  } else if (worst_ns > options_.stop_at_ns) {
    ended_by_ = fmt::format("a packet waited {} longer, more than --stop-at", base::format_duration(worst_ns));
  } else if (base::monotonic_ns() - start_ns_ > options_.budget_ns) {
    ended_by_ = "the time of --budget is used up";
  } else if (options_.budget_steps > 0 && steps_ >= options_.budget_steps) {
    ended_by_ = "the steps of --steps are used up";
  }
  return !ended_by_.empty();
}

void Application::show_progress() {
  constexpr std::int64_t every_ns = base::ns_per_s;
  const std::int64_t now_ns = base::monotonic_ns();
  if (now_ns - shown_ns_ < every_ns || !counts_pages(action_) || done_ == 0) {
    return;
  }
  const std::int64_t total = action_.total();
  shown_ns_ = now_ns;
  const std::int64_t left_ns = (now_ns - start_ns_) / done_ * std::max<std::int64_t>(total - done_, 0);
  tell(fmt::format("{} of {} pages, {} at a time, worst +{}, about {} left", base::format_count(done_), base::format_count(total),
                   base::format_count(pacer_.step()), base::format_duration(watch_.worst_added_ns()),
                   base::format_duration(left_ns)));
}

/// The reader stands still until its time is up.
Status Application::hold() {
  const std::int64_t end_ns = base::monotonic_ns() + options_.hold_ns;
  while (base::monotonic_ns() < end_ns && !InterruptGuard::requested()) {
    constexpr std::int64_t look_ns = 100 * base::ns_per_ms;
    if (const Result<std::int64_t> seen = watch_.worst_during(look_ns); !seen) {
      return seen.error();
    }
  }
  return base::ok();
}

Status Application::run() {
  while (!action_.done()) {
    const std::optional<std::int64_t> before = count_memcgs();
    const Result<std::int64_t> amount = action_.step(pacer_.step());
    if (!amount) {
      return amount.error();
    }
    ++steps_;
    done_ += *amount;
    const Result<std::int64_t> worst_ns = settle(before, *amount);
    if (!worst_ns) {
      return worst_ns.error();
    }
    pacer_.learn(*worst_ns);
    show_progress();
    // After the last step nothing is left that could be ended early.
    if (!action_.done() && budget_ended(*worst_ns)) {
      break;
    }
    if (const Result<std::int64_t> paused = watch_.worst_during(pacer_.pause_ns()); !paused) {
      return paused.error();
    }
  }
  return options_.request.option == "stop-reader" && ended_by_.empty() && options_.measure_ns == 0 ? hold() : base::ok();
}

Result<std::string> record_bundle(const ApplyOptions& options, std::string_view which) {
  RecordOptions record_options;
  record_options.target = options.watch.target;
  record_options.probe_netns = options.watch.netns;
  record_options.duration_ns = options.measure_ns;
  record_options.read_cost = false;
  record_options.bundle_path =
      fmt::format("{}/{}-{}.stall", options.directory, which,
                  base::compact_date(base::realtime_ns()) + fmt::format("{:02}", base::realtime_ns() / base::ns_per_s % 60));
  const Result<RecordOutcome> outcome = record(record_options, {});
  if (!outcome) {
    return outcome.error();
  }
  return outcome->error ? Result<std::string>(*outcome->error) : Result<std::string>(outcome->bundle_path);
}

/// Keeps the calling thread on a CPU while it lives. Where it may not, it works elsewhere, and the tracer still sees what it does
/// there.
class StayOn {
 public:
  explicit StayOn(std::int32_t cpu) {
    static_cast<void>(::sched_getaffinity(0, sizeof(before_), &before_));
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(static_cast<std::size_t>(cpu), &cpus);
    static_cast<void>(::sched_setaffinity(0, sizeof(cpus), &cpus));
  }
  ~StayOn() { static_cast<void>(::sched_setaffinity(0, sizeof(before_), &before_)); }
  StayOn(const StayOn&) = delete;
  StayOn& operator=(const StayOn&) = delete;
  StayOn(StayOn&&) = delete;
  StayOn& operator=(StayOn&&) = delete;

 private:
  cpu_set_t before_{};
};

void report(const Application& application, bool in_pages, const RemedyWatch& watch, std::optional<std::int64_t> before) {
  const std::optional<std::int64_t> after = count_memcgs();
  print_out(fmt::format(
      "{}: {} step{}{}; worst added RTT {} of {} probes (usual {}), longest wait of a CPU {}.\n",
      application.ended_by().empty() ? "Done" : "Ended early, " + application.ended_by(), base::format_count(application.steps()),
      application.steps() == 1 ? "" : "s", in_pages ? fmt::format(", {} pages", base::format_count(application.done())) : "",
      base::format_duration(watch.worst_added_ns()), base::format_count(watch.probe_count()),
      base::format_duration(watch.usual_ns()),
      watch.without_tracer().empty()
          ? (watch.worst_wait_ns() == 0 ? std::string("below 1 ms") : base::format_duration(watch.worst_wait_ns()))
          : "not seen: " + watch.without_tracer()));
  if (before && after) {
    print_out(fmt::format("Memory cgroups by the kernel's count: {} before, {} after.\n", base::format_count(*before),
                          base::format_count(*after)));
  }
}

Result<int> apply_now(const ApplyOptions& options, remedy::Action& action) {
  Result<remedy::Journal> journal = remedy::Journal::open(options.journal);
  if (!journal) {
    return journal.error();
  }
  if (const std::optional<remedy::Application>& killed = journal->unfinished()) {
    tell(fmt::format("An earlier {} of {} was killed in the middle. {}", killed->option, fmt::join(killed->objects, ", "),
                     killed->undo.empty() ? "What it had not done yet can be applied again." : "To undo it: " + killed->undo));
  }
  const InterruptGuard guard;
  std::string first_bundle;
  if (options.measure_ns > 0) {
    tell(fmt::format("measuring for {} before", base::format_duration(options.measure_ns)));
    Result<std::string> bundle = record_bundle(options, "before");
    if (!bundle) {
      return bundle.error();
    }
    first_bundle = *bundle;
  }
  WatchOptions watch_options = options.watch;
  constexpr std::int64_t reserve_ns = 60 * base::ns_per_s;
  watch_options.duration_ns = options.budget_ns + options.hold_ns + reserve_ns;
  Result<RemedyWatch> watch = RemedyWatch::start(watch_options);
  if (!watch) {
    return watch.error();
  }
  std::vector<std::string> objects = options.request.files;
  if (!options.request.cgroup.empty()) {
    objects.push_back(options.request.cgroup);
  }
  if (options.request.pid != 0) {
    objects.push_back(fmt::format("process {}", options.request.pid));
  }
  if (const Status begun = journal->begin({options.request.option, objects, action.undo(), base::realtime_ns()}); !begun) {
    return begun.error();
  }
  const std::optional<std::int64_t> before = count_memcgs();
  Application application(options, action, *watch);
  Status ran = base::ok();
  {
    const StayOn work_cpu(options.watch.cpu);
    ran = application.run();
  }
  std::string second_bundle;
  Status measured = base::ok();
  if (ran && options.measure_ns > 0) {
    tell(fmt::format("measuring for {} after", base::format_duration(options.measure_ns)));
    Result<std::string> bundle = record_bundle(options, "after");
    measured = bundle ? base::ok() : Status(bundle.error());
    second_bundle = bundle ? *bundle : "";
  }
  const Status finished = action.finish(application.ended_by().empty());
  const std::string outcome = !ran ? ran.error().message() : application.ended_by().empty() ? "done" : application.ended_by();
  const Status written = journal->end(outcome);
  for (const Status& status : {ran, measured, finished, written}) {
    if (!status) {
      return status.error();
    }
  }
  report(application, counts_pages(action), *watch, before);
  if (!action.undo().empty()) {
    print_out(fmt::format("Undo: {}\n", base::printable(action.undo())));
  }
  if (!second_bundle.empty()) {
    const Result<diagnose::Comparison> comparison = compare_bundles(first_bundle, second_bundle);
    if (!comparison) {
      return comparison.error();
    }
    print_out("\n" + report::render_comparison(*comparison));
    print_out(fmt::format("Kept: {}, {}\n", base::printable(first_bundle), base::printable(second_bundle)));
  }
  const bool gentle = watch->worst_added_ns() <= options.allowed_ns && application.ended_by().empty();
  return static_cast<int>(gentle ? exit_clean : exit_findings);
}

}  // namespace

int apply_remedy(const ApplyOptions& options) {
  const Result<std::unique_ptr<remedy::Action>> action = remedy::prepare(options.request);
  if (!action) {
    print_error(action.error());
    return exit_error;
  }
  print_out(options.go ? "" : "This would be done (nothing is without --go):\n");
  for (const std::string& line : (*action)->description()) {
    print_out("  " + base::printable(line) + "\n");
  }
  if (!options.go) {
    const std::string undo = (*action)->undo();
    print_out(fmt::format("  in steps that add at most {} to a packet's time; ends at {}, or after {}\n",
                          base::format_duration(options.allowed_ns), base::format_duration(options.stop_at_ns),
                          base::format_duration(options.budget_ns)));
    print_out("  undo: " + (undo.empty() ? std::string("none needed") : base::printable(undo)) + "\n");
    return exit_clean;
  }
  const Result<int> status = apply_now(options, **action);
  if (!status) {
    print_error(status.error());
    return exit_error;
  }
  return *status;
}

}  // namespace stallscope::cli
