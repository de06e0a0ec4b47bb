// SPDX-License-Identifier: Apache-2.0
#include "cli/remedy_watch.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "cli/prober_thread.h"
#include "probe/prober.h"
#include "probe/resolve.h"
#include "shape/statistics.h"
#include "trace/tracer.h"

namespace stallscope::cli {
namespace {

using base::Result;
using base::Status;

constexpr std::int64_t learning_ns = 300 * base::ns_per_ms;
constexpr std::int64_t longest_settling_ns = 2 * base::ns_per_s;
constexpr int drain_ms = 2;

/// Keeps of all waits only how long the longest was.
class LongestWait : public trace::Sink {
 public:
  Result<std::int64_t> add_stack(std::span<const std::string> /*frames*/) override { return std::int64_t{0}; }
  Status add(const evidence::WaitRecord& wait) override {
    // Stolen time is nobody's fault on this host.
    const bool ours = wait.mode != evidence::WaitMode::vcpu_stolen;
    since_last_ns_ = std::max(since_last_ns_, ours ? wait.length_ns() - std::max<std::int64_t>(wait.stolen_ns, 0) : 0);
    longest_ns_ = std::max(longest_ns_, since_last_ns_);
    return base::ok();
  }
  Status add(const evidence::SampleRecord& /*sample*/) override { return base::ok(); }
  Status add(const evidence::FlushRecord& /*flush*/) override { return base::ok(); }
  Status add(const evidence::PacketRecord& /*packet*/) override { return base::ok(); }
  [[nodiscard]] std::int64_t longest_ns() const { return longest_ns_; }
  std::int64_t take() { return std::exchange(since_last_ns_, 0); }

 private:
  std::int64_t longest_ns_ = 0;
  std::int64_t since_last_ns_ = 0;
};

/// Keeps the calling thread off a CPU while it lives, where there is another. For loading the tracer and taking it away: without
/// preemption the kernel lets no other thread run there meanwhile, the prober's neither.
class OffCpu {
 public:
  explicit OffCpu(std::int32_t cpu) {
    static_cast<void>(::sched_getaffinity(0, sizeof(before_), &before_));
    cpu_set_t cpus = before_;
    CPU_CLR(static_cast<std::size_t>(cpu), &cpus);
    if (CPU_COUNT(&cpus) > 0) {
      static_cast<void>(::sched_setaffinity(0, sizeof(cpus), &cpus));
    }
  }
  ~OffCpu() { static_cast<void>(::sched_setaffinity(0, sizeof(before_), &before_)); }
  OffCpu(const OffCpu&) = delete;
  OffCpu& operator=(const OffCpu&) = delete;
  OffCpu(OffCpu&&) = delete;
  OffCpu& operator=(OffCpu&&) = delete;

 private:
  cpu_set_t before_{};
};

}  // namespace

struct RemedyWatch::State {
  std::int32_t cpu = 0;
  std::optional<probe::Prober> prober;
  std::unique_ptr<LongestWait> waits = std::make_unique<LongestWait>();
  std::optional<trace::Tracer> tracer;
  std::unique_ptr<ProberThread> thread;
  std::string without_tracer;
  std::vector<std::int64_t> learnt;
  std::int64_t usual_ns = 0;
  std::int64_t worst_added_ns = 0;
  std::int64_t probe_count = 0;
  std::int64_t last_intended_ns = 0;

  Status drain() {
    if (tracer) {
      return tracer->drain(drain_ms);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(drain_ms));
    return base::ok();
  }

  std::int64_t take_probes() {
    std::int64_t worst_ns = 0;
    for (const evidence::ProbeRecord& probe : thread->take().probes) {
      ++probe_count;
      last_intended_ns = std::max(last_intended_ns, probe.intended_ns);
      if (!probe.answered()) {
        continue;
      }
      if (usual_ns == 0) {
        learnt.push_back(probe.score_ns());
      } else {
        worst_ns = std::max(worst_ns, probe.score_ns() - usual_ns);
      }
    }
    return worst_ns;
  }
};

Result<RemedyWatch> RemedyWatch::start(const WatchOptions& options) {
  const Result<in_addr> address = probe::resolve_target(options.target);
  if (!address) {
    return address.error();
  }
  probe::ProberOptions echo;
  echo.targets.resize(1);
  echo.targets.front().name = options.target;
  echo.targets.front().to = probe::endpoint_of(*address);
  echo.netns = options.netns;
  echo.interval_ns = options.interval_ns;
  echo.duration_ns = options.duration_ns;
  echo.cpu = options.cpu;
  Result<probe::Prober> prober = probe::Prober::open(std::move(echo));
  if (!prober) {
    return prober.error();
  }
  auto state = std::make_unique<State>();
  state->prober = std::move(*prober);
  state->cpu = options.cpu;
  {
    const OffCpu elsewhere(options.cpu);
    if (Result<trace::Tracer> tracer = trace::Tracer::start({}, *state->waits)) {
      state->tracer = std::move(*tracer);
    } else {
      state->without_tracer = tracer.error().reason;
    }
  }
  state->thread = std::make_unique<ProberThread>(*state->prober);
  for (const std::int64_t until_ns = base::monotonic_ns() + learning_ns; base::monotonic_ns() < until_ns;) {
    if (const Status drained = state->drain(); !drained) {
      return drained.error();
    }
    state->take_probes();
  }
  if (state->learnt.empty()) {
    return base::Error{"probe", options.target, "nothing answers, so that nobody would notice what is done to packets",
                       "Name a target that answers ICMP echo: --target"};
  }
  state->usual_ns = std::max<std::int64_t>(shape::median(std::exchange(state->learnt, {})), 1);
  static_cast<void>(state->waits->take());
  return RemedyWatch(std::move(state));
}

Result<std::int64_t> RemedyWatch::worst_during(std::int64_t length_ns) {
  const std::int64_t end_ns = base::monotonic_ns() + length_ns;
  std::int64_t worst_ns = 0;
  while (true) {
    if (const Status drained = state_->drain(); !drained) {
      return drained.error();
    }
    worst_ns = std::max(worst_ns, state_->take_probes());
    const std::int64_t now_ns = base::monotonic_ns();
    if (state_->thread->finished()) {
      return base::Error{"watch", "what packets feel", "the prober ended", ""};
    }
    if (now_ns >= end_ns && state_->last_intended_ns >= end_ns) {
      break;
    }
    if (now_ns >= end_ns + longest_settling_ns) {
      // Nothing has been answered since: what has not come yet has waited for so long already.
      worst_ns = std::max(worst_ns, now_ns - state_->last_intended_ns);
      break;
    }
  }
  state_->worst_added_ns = std::max(state_->worst_added_ns, worst_ns);
  return std::max(worst_ns, state_->waits->take());
}

std::int64_t RemedyWatch::worst_added_ns() const {
  return state_->worst_added_ns;
}
std::int64_t RemedyWatch::worst_wait_ns() const {
  return state_->waits->longest_ns();
}
std::int64_t RemedyWatch::usual_ns() const {
  return state_->usual_ns;
}
std::int64_t RemedyWatch::probe_count() const {
  return state_->probe_count;
}
const std::string& RemedyWatch::without_tracer() const {
  return state_->without_tracer;
}

RemedyWatch::RemedyWatch(std::unique_ptr<State> state) : state_(std::move(state)) {}
RemedyWatch::RemedyWatch(RemedyWatch&&) noexcept = default;
RemedyWatch& RemedyWatch::operator=(RemedyWatch&&) noexcept = default;
RemedyWatch::~RemedyWatch() {
  if (state_ && state_->thread) {
    state_->thread->request_stop();
    const OffCpu elsewhere(state_->cpu);
    state_->tracer.reset();
  }
}

}  // namespace stallscope::cli
