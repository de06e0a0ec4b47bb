// SPDX-License-Identifier: Apache-2.0
#include "cli/recorder.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <set>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/text.h"
#include "census/census.h"
#include "cli/app.h"
#include "cli/before_and_after.h"
#include "cli/interrupt.h"
#include "cli/prober_thread.h"
#include "evidence/bundle.h"
#include "evidence/syn_mark.h"
#include "host/counters.h"
#include "host/kernel.h"
#include "probe/local_address.h"
#include "probe/netns.h"
#include "probe/prober.h"
#include "probe/resolve.h"
#include "trace/tracer.h"

namespace stallscope::cli {
namespace {

using base::Error;
using base::Result;
using base::Status;
using evidence::BundleWriter;

/// How long a drain waits for events: also how soon Ctrl-C is noticed.
constexpr int drain_timeout_ms = 100;
/// What a SIGKILL can lose.
constexpr std::int64_t commit_interval_ns = base::ns_per_s;
/// The sequence of an echo request has 16 bits.
constexpr std::int64_t wire_sequences = 65'536;

/// The tracer's records into the bundle.
class BundleSink : public trace::Sink {
 public:
  explicit BundleSink(BundleWriter& bundle) : bundle_(bundle) {}
  Result<std::int64_t> add_stack(std::span<const std::string> frames) override { return bundle_.add_stack(frames); }
  Status add(const evidence::WaitRecord& wait) override {
    ++wait_count_;
    return bundle_.add(wait);
  }
  Status add(const evidence::SampleRecord& sample) override { return bundle_.add(sample); }
  Status add(const evidence::FlushRecord& flush) override { return bundle_.add(flush); }
  Status add(const evidence::PacketRecord& packet) override { return bundle_.add(packet); }
  [[nodiscard]] std::int64_t wait_count() const { return wait_count_; }

 private:
  BundleWriter& bundle_;
  std::int64_t wait_count_ = 0;
};

/// A name that can be part of a file name.
std::string file_stem(const std::string& name) {
  std::string stem = name;
  std::replace_if(
      stem.begin(), stem.end(), [](char c) { return c == '/' || c == ':' || static_cast<unsigned char>(c) <= ' '; }, '_');
  return stem;
}

/// "10.0.1.2-20261123T0304.stall", or with -2, -3 ... where that is taken.
std::string unused_bundle_path(const std::string& stem) {
  const std::string base_path = stem + "-" + base::compact_date(base::realtime_ns());
  std::string path = base_path + ".stall";
  for (int number = 2; ::access(path.c_str(), F_OK) == 0; ++number) {
    path = fmt::format("{}-{}.stall", base_path, number);
  }
  return path;
}

class Recording {
 public:
  Recording(const RecordOptions& options, const std::function<void(const RecordProgress&)>& on_progress)
      : options_(options), on_progress_(on_progress) {}

  Result<RecordOutcome> run();

 private:
  Status prepare_probe();
  Status start_tracer();
  Status create_bundle();
  Status observe();
  Status take_probes();
  Status finish();
  Status add_census();
  Status add_prober_findings();
  [[nodiscard]] bool tracer_required() const { return run_.target.empty() || run_.target_is_local; }

  const RecordOptions& options_;
  const std::function<void(const RecordProgress&)>& on_progress_;
  evidence::RunRecord run_;
  std::vector<evidence::GapRecord> gaps_;
  std::optional<probe::Prober> prober_;
  std::optional<BundleWriter> bundle_;
  std::unique_ptr<BundleSink> sink_;
  std::optional<trace::Tracer> tracer_;
  /// Ends before the prober does.
  std::unique_ptr<ProberThread> probe_thread_;
  /// Where the target receives; empty: the caller's namespace.
  std::string watched_netns_;
  std::optional<BeforeAndAfter> host_;
  std::int64_t probe_count_ = 0;
  std::set<std::int64_t> written_flows_;
  bool interrupted_ = false;
};

Status Recording::prepare_probe() {
  run_.target = options_.target;
  if (options_.target.empty()) {
    return base::ok();
  }
  const Result<in_addr> address = probe::resolve_target(options_.target);
  if (!address) {
    return address.error();
  }
  run_.target_address = probe::format_address(*address);
  run_.probe_netns = options_.probe_netns;
  run_.probe_interval_ns = options_.probe_interval_ns;

  const Result<probe::LocalAddressSearch> search = probe::find_local_address(*address);
  if (!search) {
    return search.error();
  }
  run_.target_is_local = !search->matches.empty();
  if (run_.target_is_local && !search->matches.front().own_netns) {
    watched_netns_ = search->matches.front().netns_path;
  }
  if (!run_.target_is_local && !search->not_searched.empty()) {
    gaps_.push_back({"network namespaces of this host", search->not_searched.front(),
                     "Whether the target is a namespace of this host is not known; it is taken for a remote one."});
  }

  probe::ProberOptions prober_options;
  prober_options.targets.resize(1);
  prober_options.targets.front().name = options_.target;
  prober_options.targets.front().to = probe::endpoint_of(*address);
  if (options_.tcp_port) {
    prober_options.targets.front().kind = evidence::ProbeKind::tcp_syn;
    prober_options.targets.front().to.port = *options_.tcp_port;
  }
  prober_options.netns = options_.probe_netns;
  prober_options.interval_ns = options_.probe_interval_ns;
  prober_options.duration_ns = options_.duration_ns;
  prober_options.cpu = options_.probe_cpu;
  prober_options.icmp_identifier = options_.echo_id;
  if (options_.tcp_port && options_.echo_id) {
    prober_options.syn_token = syn_token_of_number(*options_.echo_id);
  }
  // A stall may be longer than any timeout that would suit a network: what is late is not lost.
  prober_options.timeout_ns = probe::ProberOptions::longest_timeout_ns;
  prober_options.grace_ns = base::ns_per_s;
  // The tracer tells packets apart by the 16 bits of their sequence that are on the wire.
  prober_options.most_outstanding = wire_sequences;
  Result<probe::Prober> prober = probe::Prober::open(std::move(prober_options));
  if (!prober) {
    return prober.error();
  }
  gaps_.insert(gaps_.end(), prober->gaps().begin(), prober->gaps().end());
  prober_ = std::move(*prober);
  return base::ok();
}

Status Recording::create_bundle() {
  const host::Kernel kernel = host::read_kernel();
  run_.tool_version = std::string(version());
  run_.hostname = kernel.hostname;
  run_.kernel_release = kernel.release;
  run_.boot_id = kernel.boot_id;
  run_.cpu_count = static_cast<std::int32_t>(kernel.online_cpus.size());
  run_.planned_duration_ns = options_.duration_ns;
  run_.wait_threshold_ns = options_.wait_threshold_ns;
  run_.realtime_offset_ns = base::realtime_offset_ns();
  run_.start_ns = base::monotonic_ns();
  run_.end_ns = run_.start_ns;
  const std::string stem = options_.target.empty() ? run_.hostname : options_.target;
  Result<BundleWriter> bundle =
      BundleWriter::create(options_.bundle_path.empty() ? unused_bundle_path(file_stem(stem)) : options_.bundle_path, run_);
  if (!bundle) {
    return bundle.error();
  }
  bundle_ = std::move(*bundle);
  sink_ = std::make_unique<BundleSink>(*bundle_);
  return base::ok();
}

Status Recording::start_tracer() {
  trace::TracerOptions options;
  options.backend = options_.tracer;
  options.wait_threshold_ns = options_.wait_threshold_ns;
  options.ring_buffer_bytes = options_.ring_buffer_bytes;
  if (prober_) {
    options.icmp_identifier = prober_->icmp_identifier();
    options.syn_token = prober_->syn_token();
  } else if (options_.echo_id && options_.tcp_port) {
    options.syn_token = syn_token_of_number(*options_.echo_id);
  } else {
    options.icmp_identifier = options_.echo_id;
  }
  Result<trace::Tracer> tracer = trace::Tracer::start(options, *sink_);
  if (tracer) {
    tracer_ = std::move(*tracer);
    run_.traced = true;
    gaps_.insert(gaps_.end(), tracer_->gaps().begin(), tracer_->gaps().end());
    return base::ok();
  }
  if (tracer_required()) {
    return tracer.error();
  }
  // Probing a remote host still tells when and how long it stalls.
  gaps_.push_back({"waits on this host", tracer.error().reason,
                   "If this host itself delays the replies, that cannot be told from a delay at the target."});
  return base::ok();
}

Status Recording::take_probes() {
  if (!probe_thread_) {
    return base::ok();
  }
  for (const evidence::ProbeRecord& probe : probe_thread_->take().probes) {
    ++probe_count_;
    if (written_flows_.insert(probe.flow_id).second) {
      if (const Status added = bundle_->add(prober_->flow(probe.flow_id)); !added) {
        return added.error();
      }
    }
    if (const Status added = bundle_->add(probe); !added) {
      return added.error();
    }
  }
  return base::ok();
}

Status Recording::observe() {
  run_.start_ns = base::monotonic_ns();
  if (prober_) {
    probe_thread_ = std::make_unique<ProberThread>(*prober_);
  }
  const std::int64_t deadline_ns = run_.start_ns + options_.duration_ns;
  std::int64_t next_commit_ns = run_.start_ns + commit_interval_ns;
  while (true) {
    // Read first: what the prober handed over before it finished is then taken below.
    const bool prober_finished = probe_thread_ == nullptr || probe_thread_->finished();
    if (tracer_) {
      if (const Status drained = tracer_->drain(drain_timeout_ms); !drained) {
        return drained.error();
      }
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(drain_timeout_ms));
    }
    if (const Status taken = take_probes(); !taken) {
      return taken.error();
    }
    const std::int64_t now_ns = base::monotonic_ns();
    run_.end_ns = now_ns;
    if (now_ns >= next_commit_ns) {
      next_commit_ns = now_ns + commit_interval_ns;
      if (const Status updated = bundle_->update_run(run_); !updated) {
        return updated.error();
      }
      if (const Status committed = bundle_->commit(); !committed) {
        return committed.error();
      }
    }
    if (on_progress_) {
      on_progress_(
          {std::min(now_ns - run_.start_ns, options_.duration_ns), options_.duration_ns, probe_count_, sink_->wait_count()});
    }
    if (InterruptGuard::requested() && !interrupted_) {
      interrupted_ = true;
      if (probe_thread_) {
        probe_thread_->request_stop();
      }
    }
    // With a probe the prober decides: it waits for late replies.
    if (probe_thread_ ? prober_finished : (interrupted_ || now_ns >= deadline_ns)) {
      return base::ok();
    }
  }
}

Status Recording::add_census() {
  census::CensusOptions options;
  options.read_cost = options_.read_cost;
  options.slabinfo_anyway = options_.slabinfo_anyway;
  const census::CensusResult census = census::take_census(options);
  gaps_.insert(gaps_.end(), census.gaps.begin(), census.gaps.end());
  if (const Status added = bundle_->add(census.memcgs); !added) {
    return added.error();
  }
  for (const Status& added : {bundle_->add_all(census.pinning_files), bundle_->add_all(census.stat_reads),
                              bundle_->add_all(census.memory), bundle_->add_all(census.slabs)}) {
    if (!added) {
      return added.error();
    }
  }
  return base::ok();
}

Status Recording::add_prober_findings() {
  if (!probe_thread_) {
    return base::ok();
  }
  const Result<probe::ProberSummary>& summary = probe_thread_->summary();
  if (!summary) {
    return summary.error();
  }
  if (summary->socket_drops > 0) {
    if (const Status added =
            bundle_->add(evidence::LossRecord{"replies dropped at the prober's full socket", summary->socket_drops});
        !added) {
      return added.error();
    }
  }
  if (summary->counts.send_failed > 0) {
    const auto refusal =
        std::find_if(summary->errors.begin(), summary->errors.end(), [](const auto& error) { return !error.icmp; });
    gaps_.push_back({fmt::format("{} probes that could not be sent", base::format_count(summary->counts.send_failed)),
                     refusal == summary->errors.end() ? "not known" : refusal->what, "They count as lost."});
  }
  const auto error = std::find_if(summary->errors.begin(), summary->errors.end(), [](const auto& known) { return known.icmp; });
  if (error != summary->errors.end()) {
    gaps_.push_back({fmt::format("{} probes answered by an ICMP error", base::format_count(error->count)),
                     fmt::format("{} from {}", error->what, probe::address_text(error->reporter)), "They count as lost."});
  }
  if (summary->clock_steps > 0) {
    gaps_.push_back({"exact receive times", fmt::format("the wall clock was stepped {} times", summary->clock_steps),
                     "Some round-trip times were taken when the reply was read, and are too long by the reading delay."});
  }
  return base::ok();
}

Status Recording::finish() {
  if (tracer_) {
    if (const Status stopped = tracer_->stop(); !stopped) {
      return stopped.error();
    }
    for (const evidence::LossRecord& loss : tracer_->losses()) {
      if (const Status added = bundle_->add(loss); !added) {
        return added.error();
      }
    }
  }
  for (const auto& step : {&Recording::take_probes, &Recording::add_prober_findings}) {
    if (const Status done = (this->*step)(); !done) {
      return done.error();
    }
  }
  if (const Status added = host_->add_to(*bundle_); !added) {
    return added.error();
  }
  if (const Status added = add_census(); !added) {
    return added.error();
  }
  for (const evidence::GapRecord& gap : gaps_) {
    if (const Status added = bundle_->add(gap); !added) {
      return added.error();
    }
  }
  run_.state = interrupted_ ? "interrupted" : "finished";
  if (const Status updated = bundle_->update_run(run_); !updated) {
    return updated.error();
  }
  return bundle_->commit();
}

Result<RecordOutcome> Recording::run() {
  if (const Status prepared = prepare_probe(); !prepared) {
    return prepared.error();
  }
  if (const Status created = create_bundle(); !created) {
    return created.error();
  }
  const std::string path = bundle_->path();
  // Nothing has been recorded yet: what fails here leaves no file behind.
  if (const Status started = start_tracer(); !started) {
    bundle_.reset();
    ::unlink(path.c_str());
    return started.error();
  }
  // Of another host's sockets this one knows nothing.
  host_.emplace(tracer_required() ? std::optional(watched_netns_) : std::nullopt);

  RecordOutcome outcome;
  outcome.bundle_path = path;
  Status status = observe();
  if (status) {
    status = finish();
  }
  if (!status && probe_count_ == 0 && probe_thread_ && probe_thread_->finished() && !probe_thread_->summary()) {
    // The prober could not even start (a CPU it may not use): there is nothing worth keeping.
    bundle_.reset();
    ::unlink(path.c_str());
    return status.error();
  }
  outcome.interrupted = interrupted_;
  if (!status) {
    outcome.error = status.error();
  }
  return outcome;
}

}  // namespace

Result<RecordOutcome> record(const RecordOptions& options, const std::function<void(const RecordProgress&)>& on_progress) {
  return Recording(options, on_progress).run();
}

}  // namespace stallscope::cli
