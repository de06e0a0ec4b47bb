// SPDX-License-Identifier: Apache-2.0
#include "cli/probe_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "cli/app.h"
#include "cli/interrupt.h"
#include "cli/probe_shape.h"
#include "cli/prober_thread.h"
#include "cli/terminal.h"
#include "evidence/bundle.h"
#include "host/kernel.h"
#include "probe/netns.h"

namespace stallscope::cli {
namespace {

using base::Result;
using base::Status;
using evidence::HttpRecord;
using evidence::ProbeRecord;

constexpr auto turn_length = std::chrono::milliseconds(100);
constexpr std::int64_t commit_every_ns = base::ns_per_s;

/// Keeps probes in a bundle, and each flow once.
class ProbeBundle {
 public:
  static Result<ProbeBundle> create(const ProbeRunOptions& options, const probe::Prober& prober) {
    const host::Kernel kernel = host::read_kernel();
    evidence::RunRecord run;
    run.tool_version = std::string(version());
    run.hostname = kernel.hostname;
    run.kernel_release = kernel.release;
    run.boot_id = kernel.boot_id;
    run.cpu_count = static_cast<std::int32_t>(kernel.online_cpus.size());
    run.planned_duration_ns = options.prober.duration_ns;
    run.wait_threshold_ns = options.late_after_ns;
    run.realtime_offset_ns = base::realtime_offset_ns();
    run.start_ns = base::monotonic_ns();
    run.end_ns = run.start_ns;
    const std::vector<probe::ProbeTarget>& targets = prober.targets();
    run.target = targets.size() == 1 ? targets.front().name : fmt::format("each of {} targets", targets.size());
    run.target_address = targets.size() == 1 ? probe::address_text(targets.front().to) : "";
    run.probe_netns = options.prober.netns;
    run.probe_interval_ns = options.prober.interval_ns;
    Result<evidence::BundleWriter> writer = evidence::BundleWriter::create(options.bundle_path, run);
    if (!writer) {
      return writer.error();
    }
    return ProbeBundle(*std::move(writer), std::move(run), prober);
  }

  Status add(const ProberThread::Records& records) {
    for (const ProbeRecord& probe : records.probes) {
      if (written_flows_.insert(probe.flow_id).second) {
        if (Status added = writer_.add(prober_->flow(probe.flow_id)); !added) {
          return added;
        }
      }
      if (Status added = writer_.add(probe); !added) {
        return added;
      }
    }
    if (Status added = writer_.add_all(records.exchanges); !added) {
      return added;
    }
    run_.end_ns = base::monotonic_ns();
    if (run_.end_ns - last_commit_ns_ < commit_every_ns) {
      return base::ok();
    }
    last_commit_ns_ = run_.end_ns;
    return update();
  }

  Status finish(const ProbeReport& report, bool failed) {
    for (const evidence::GapRecord& gap : report.gaps) {
      if (Status added = writer_.add(gap); !added) {
        return added;
      }
    }
    for (const probe::Distortion& distortion : report.distortions) {
      if (Status added = writer_.add(evidence::GapRecord{"undistorted probes", distortion.what, distortion.consequence}); !added) {
        return added;
      }
    }
    if (report.summary.socket_drops > 0) {
      if (Status added =
              writer_.add(evidence::LossRecord{"replies dropped at the prober's full socket", report.summary.socket_drops});
          !added) {
        return added;
      }
    }
    run_.state = failed ? "failed" : report.summary.interrupted ? "interrupted" : "finished";
    return update();
  }

 private:
  ProbeBundle(evidence::BundleWriter writer, evidence::RunRecord run, const probe::Prober& prober)
      : writer_(std::move(writer)), run_(std::move(run)), prober_(&prober) {}

  Status update() {
    if (Status updated = writer_.update_run(run_); !updated) {
      return updated;
    }
    return writer_.commit();
  }

  evidence::BundleWriter writer_;
  evidence::RunRecord run_;
  const probe::Prober* prober_;
  std::set<std::int64_t> written_flows_;
  std::int64_t last_commit_ns_ = 0;
};

/// `ended`: after the run, with what needs to be asked only once.
probe::DistortionFacts facts_in(const std::string& netns_name, bool ended) {
  probe::DistortionFacts facts;
  const auto read = [&] {
    facts = probe::read_distortion_facts();
    if (ended) {
      probe::add_steering_facts(facts);
    }
  };
  if (netns_name.empty()) {
    read();
  } else if (const Result<probe::NetworkNamespace> netns = probe::NetworkNamespace::open(netns_name)) {
    static_cast<void>(probe::run_in_netns(*netns, read));
  }
  return facts;
}

probe::ProbeLoad load_of(const std::vector<probe::ProbeTarget>& targets, const probe::ScoreBoard& board,
                         const probe::ProberSummary& summary) {
  probe::ProbeLoad load;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const bool udp = targets[i].kind == evidence::ProbeKind::udp_echo;
    const bool icmp = targets[i].kind == evidence::ProbeKind::icmp_echo;
    load.uses_udp = load.uses_udp || udp;
    load.uses_tcp = load.uses_tcp || (!udp && !icmp);
    load.tracked_flows += udp || icmp ? 1 : board.targets()[i].sent;
  }
  load.lost = board.total().lost;
  for (const probe::ProbeErrorCount& error : summary.errors) {
    load.icmp_errors += error.icmp ? error.count : 0;
  }
  constexpr double worst_of_a_thousand = 0.999;
  load.own_lateness_p999_ns = board.own_lateness().quantile_ns(worst_of_a_thousand);
  load.preferred = summary.preferred;
  return load;
}

class ProbeRun {
 public:
  ProbeRun(const ProbeRunOptions& options, probe::Prober& prober)
      : options_(options),
        prober_(prober),
        board_(prober.targets().size(), options.late_after_ns),
        shapes_([&prober](std::int64_t flow_id) { return prober.flow(flow_id); }),
        watched_(describe_terminal(STDERR_FILENO).interactive && !(options.each && describe_terminal(STDOUT_FILENO).interactive)) {}

  Result<bool> run() {
    std::optional<ProbeBundle> bundle;
    if (!options_.bundle_path.empty()) {
      Result<ProbeBundle> created = ProbeBundle::create(options_, prober_);
      if (!created) {
        return created.error();
      }
      bundle.emplace(*std::move(created));
    }
    const probe::DistortionFacts before = facts_in(options_.prober.netns, false);
    const std::int64_t start_ns = base::monotonic_ns();
    ProberThread thread(prober_);
    bool stopping = false;
    while (true) {
      // Read first: what was handed over before it finished is then taken below.
      const bool finished = thread.finished();
      const ProberThread::Records& records = thread.take();
      score(records);
      if (bundle) {
        if (const Status added = bundle->add(records); !added) {
          return added.error();
        }
      }
      if (finished) {
        break;
      }
      show_progress(start_ns);
      if (InterruptGuard::requested() && !stopping) {
        stopping = true;
        thread.request_stop();
      }
      std::this_thread::sleep_for(turn_length);
    }
    clear_progress();
    if (!thread.summary()) {
      return thread.summary().error();
    }
    const probe::ProberSummary& summary = *thread.summary();
    const std::vector<probe::Distortion> distortions =
        probe::find_distortions(before, facts_in(options_.prober.netns, true), load_of(prober_.targets(), board_, summary));
    const ProbeReport report{
        prober_.targets(),     board_, summary, prober_.gaps(), distortions, options_.late_after_ns, options_.prober.interval_ns,
        prober_.window_bytes()};
    const std::int64_t left_out_count = shapes_.left_out_count();
    const ProbeShapes shapes{shapes_.finish(base::monotonic_ns()), left_out_count, base::realtime_offset_ns(), options_.rss_key};
    if (options_.json) {
      print_out(probe_shapes_json(shapes) + render_probe_json(report));
    } else {
      const Terminal terminal = describe_terminal(STDOUT_FILENO);
      print_out(render_probe_text(report, options_.text) +
                render_probe_shapes(shapes, {.width = terminal.width, .utf8 = terminal.utf8, .all = options_.text.all}));
    }
    if (bundle) {
      if (const Status done = bundle->finish(report, false); !done) {
        return done.error();
      }
      if (!options_.json) {
        print_out(fmt::format("Every probe is in {} (open it with: stallscope report, sqlite3)\n", options_.bundle_path));
      }
    }
    return anything_wrong(report);
  }

 private:
  void score(const ProberThread::Records& records) {
    exchanges_ = records.exchanges;
    std::sort(exchanges_.begin(), exchanges_.end(),
              [](const HttpRecord& a, const HttpRecord& b) { return a.sequence < b.sequence; });
    for (const ProbeRecord& probe : records.probes) {
      const std::size_t target = prober_.target_of(probe.sequence);
      const probe::ProbeFateKind fate = board_.add(target, probe);
      shapes_.add(probe);
      const HttpRecord* const http = phases_of(probe.sequence);
      if (http != nullptr) {
        board_.add_phases(target, probe, *http);
      }
      if (!options_.each) {
        continue;
      }
      const evidence::FlowRecord flow = prober_.flow(probe.flow_id);
      print_out(options_.json ? probe_line_json(flow, probe, fate, http)
                              : probe_line_text(prober_.targets()[target], flow, probe, fate, http));
    }
    if (options_.each) {
      (void)std::fflush(stdout);
    }
  }

  /// Of a probe of the present batch.
  [[nodiscard]] const HttpRecord* phases_of(std::int64_t sequence) const {
    const auto found = std::lower_bound(exchanges_.begin(), exchanges_.end(), sequence,
                                        [](const HttpRecord& each, std::int64_t wanted) { return each.sequence < wanted; });
    return found != exchanges_.end() && found->sequence == sequence ? &*found : nullptr;
  }

  void show_progress(std::int64_t start_ns) const {
    if (watched_) {
      fmt::print(stderr, "\r\x1b[K{}", progress_line(board_, base::monotonic_ns() - start_ns, options_.prober.duration_ns));
      (void)std::fflush(stderr);
    }
  }
  void clear_progress() const {
    if (watched_) {
      (void)std::fputs("\r\x1b[K", stderr);
    }
  }

  const ProbeRunOptions& options_;
  probe::Prober& prober_;
  probe::ScoreBoard board_;
  diagnose::ShapeCollector shapes_;
  /// In order of sequence.
  std::vector<HttpRecord> exchanges_;
  bool watched_;
};

}  // namespace

Result<bool> run_probes(const ProbeRunOptions& options) {
  Result<probe::Prober> prober = probe::Prober::open(options.prober);
  if (!prober) {
    return prober.error();
  }
  return ProbeRun(options, *prober).run();
}

}  // namespace stallscope::cli
