// SPDX-License-Identifier: Apache-2.0
#include "probe/icmp_prober.h"

#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <utility>

#include "base/clock.h"
#include "base/owned_fd.h"
#include "probe/netns.h"
#include "probe/receive_clock.h"
#include "probe/resolve.h"
#include "probe/sender_thread.h"

namespace stallscope::probe {
namespace {

constexpr std::int64_t grace_limit_ns = 3 * base::ns_per_s;
/// Between the call of run() and the first probe: lets the thread reach its sleep, so that the first probe is on time.
constexpr std::int64_t lead_ns = base::ns_per_ms;
/// Later than a busy scheduler makes us, earlier than a stall worth reporting.
constexpr std::int64_t own_lateness_limit_ns = 5 * base::ns_per_ms;
constexpr std::int64_t late_delivery_ns = base::ns_per_ms;
/// Finished probes are handed over in batches of this size, or this often when they come slowly.
constexpr std::size_t sink_batch = 256;
constexpr std::int64_t sink_period_ns = 100 * base::ns_per_ms;
/// In a burst of overdue probes, replies are read after this many, so that they neither fill the receive buffer nor wait long.
constexpr int burst_length = 64;
/// Kinds of errors told apart. Reserved before the run; further kinds are added to the last.
constexpr std::size_t error_kinds = 16;

/// An event that a stop request makes readable, so that it ends a poll.
class StopEvent {
 public:
  explicit StopEvent(std::stop_token stop)
      : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), callback_(std::move(stop), Signal{fd_.get()}) {}
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  struct Signal {
    int fd;
    void operator()() const {
      const std::uint64_t one = 1;
      // Cannot fail: the counter of an event written once does not overflow.
      [[maybe_unused]] const ssize_t written = ::write(fd, &one, sizeof one);
    }
  };
  base::OwnedFd fd_;
  std::stop_callback<Signal> callback_;
};

/// The element of `counts` that `matches`, added if there is none; the last one when there are too many kinds.
template <typename Count, typename Matches>
Count& count_of(std::vector<Count>& counts, const Count& fresh, Matches matches) {
  const auto found = std::find_if(counts.begin(), counts.end(), matches);
  if (found != counts.end()) {
    return *found;
  }
  if (counts.size() < error_kinds) {
    counts.push_back(fresh);
  }
  return counts.back();
}

/// One run of a prober.
class Run {
 public:
  Run(IcmpSocket& socket, SenderThread& thread, EchoSession& session, const EchoOptions& options, const ProbeSink& sink)
      : socket_(&socket), thread_(&thread), session_(&session), options_(&options), sink_(&sink) {
    summary_.icmp_errors.reserve(error_kinds);
    summary_.send_errors.reserve(error_kinds);
  }

  base::Status loop(const std::stop_token& stop, const StopEvent& stop_event) {
    last_flush_ns_ = base::monotonic_ns();
    while (true) {
      if (stop.stop_requested() && !summary_.interrupted) {
        summary_.interrupted = session_->next_send_ns().has_value();
        session_->stop_sending();
      }
      send_due();
      // Taken before the socket is read: replies that came while we did not run must not be cut off by the deadline.
      const std::int64_t now_ns = base::monotonic_ns();
      drain();
      const std::optional<std::int64_t> next_send_ns = session_->next_send_ns();
      const std::int64_t wake_ns = next_send_ns.value_or(grace_deadline_ns(*session_, options_->grace_ns, grace_limit_ns));
      if (!next_send_ns && (session_->outstanding_count() == 0 || now_ns >= wake_ns)) {
        return base::ok();
      }
      hand_over(wake_ns);
      if (base::Status status = sleep_until(wake_ns, stop_event, stop.stop_requested()); !status) {
        return status;
      }
    }
  }

  EchoSummary finish() {
    session_->finish();
    if (!session_->finished().empty()) {
      (*sink_)(session_->finished());
      session_->clear_finished();
    }
    summary_.counts = session_->counts();
    summary_.socket_drops = socket_->dropped();
    summary_.realtime = thread_->realtime();
    summary_.clock_steps = clock_.steps();
    summary_.replaced_timestamps = clock_.replaced();
    return std::move(summary_);
  }

 private:
  /// One burst at most, so that replies, the sink and a stop request get their turn.
  void send_due() {
    for (int i = 0; i < burst_length; ++i) {
      const std::optional<DueProbe> probe = session_->next_due(base::monotonic_ns());
      if (!probe) {
        return;
      }
      send(*probe);
    }
  }

  void send(const DueProbe& probe) {
    const EchoPacket packet = build_echo_request(session_->label(probe));
    int error_number = 0;
    // An ICMP error about an earlier probe makes one send fail in its place; that is no reason to lose this probe.
    for (int attempt = 0; attempt < 2; ++attempt) {
      const std::int32_t cpu = sched_getcpu();
      const std::int64_t sent_ns = base::monotonic_ns();
      const bool late = sent_ns - probe.intended_ns > own_lateness_limit_ns;
      error_number = socket_->send(packet);
      if (error_number == 0) {
        session_->sent(probe, sent_ns, late && slept_on_cpu_ >= 0 ? slept_on_cpu_ : cpu);
        if (late) {
          leave_cpu();
        }
        return;
      }
      drain_errors();
    }
    session_->send_failed();
    ++count_of(summary_.send_errors, SendErrorCount{error_number, 0}, [&](const SendErrorCount& known) {
        return known.error_number == error_number;
      }).count;
  }

  /// The timer that wakes us runs on the CPU we went to sleep on, so that is the one to leave. Once per sleep: the probes of one
  /// burst are late for the same reason.
  void leave_cpu() {
    if (slept_on_cpu_ >= 0 && !left_cpu_) {
      summary_.cpu_moves += thread_->avoid(slept_on_cpu_) ? 1 : 0;
      left_cpu_ = true;
    }
  }

  void drain() {
    while (true) {
      const std::int64_t before_ns = base::monotonic_ns();
      const std::span<const ReceivedIcmp> messages = socket_->receive();
      if (!messages.empty()) {
        const std::int64_t offset_ns = base::realtime_offset_ns();
        clock_.observe(base::monotonic_ns(), offset_ns);
      }
      for (const ReceivedIcmp& message : messages) {
        take(message);
      }
      if (messages.size() < IcmpSocket::batch_size) {
        seen_empty_ns_ = before_ns;
        break;
      }
      hand_over(before_ns);
    }
    drain_errors();
  }

  void take(const ReceivedIcmp& message) {
    const ParsedReply parsed = message.truncated ? ParsedReply{} : parse_echo_reply(message.icmp);
    if (!parsed.reply) {
      summary_.malformed += parsed.fault != EchoFault::not_an_echo_reply ? 1 : 0;
      return;
    }
    std::int64_t received_ns = 0;
    if (const evidence::ProbeRecord* probe = session_->outstanding(*parsed.reply)) {
      received_ns = clock_.to_monotonic(message.received_realtime_ns, probe->sent_ns);
      const std::int64_t delivery_ns = seen_empty_ns_ - received_ns;
      summary_.late_deliveries += delivery_ns > late_delivery_ns ? 1 : 0;
      summary_.worst_delivery_ns = std::max(summary_.worst_delivery_ns, delivery_ns);
    }
    session_->received(*parsed.reply, received_ns);
  }

  void drain_errors() {
    while (const std::optional<ReceivedIcmpError> error = socket_->receive_error()) {
      const std::optional<QuotedRequest> quoted = parse_quoted_request(error->quoted);
      if (!quoted || !session_->is_ours(*quoted)) {
        continue;
      }
      const IcmpErrorCount fresh{.type = error->type, .code = error->code, .reporter = error->reporter, .count = 0};
      IcmpErrorCount& known = count_of(summary_.icmp_errors, fresh, [&](const IcmpErrorCount& count) {
        return count.type == error->type && count.code == error->code;
      });
      known.reporter = error->reporter;
      ++known.count;
    }
  }

  /// Hands finished probes over if there is time before `wake_ns`, or if they would outgrow the session's buffer.
  void hand_over(std::int64_t wake_ns) {
    const std::size_t waiting = session_->finished().size();
    const std::int64_t now_ns = base::monotonic_ns();
    const bool period_ends = std::max(now_ns, wake_ns) - last_flush_ns_ >= sink_period_ns;
    const bool wanted = waiting >= sink_batch || (waiting > 0 && period_ends);
    if ((wanted && now_ns < wake_ns) || waiting >= EchoSession::finished_capacity / 2) {
      (*sink_)(session_->finished());
      session_->clear_finished();
      last_flush_ns_ = now_ns;
    }
  }

  base::Status sleep_until(std::int64_t wake_ns, const StopEvent& stop_event, bool stopped) {
    std::array<pollfd, 2> events{{{socket_->fd(), POLLIN, 0}, {stop_event.fd(), POLLIN, 0}}};
    // Once stopped, the event stays readable and would keep us from sleeping.
    const nfds_t event_count = stopped ? 1 : events.size();
    const std::int64_t remaining_ns = wake_ns - base::monotonic_ns();
    if (remaining_ns <= 0) {
      return base::ok();
    }
    slept_on_cpu_ = sched_getcpu();
    left_cpu_ = false;
    const timespec timeout{remaining_ns / base::ns_per_s, remaining_ns % base::ns_per_s};
    if (ppoll(events.data(), event_count, &timeout, nullptr) < 0 && errno != EINTR) {
      return base::errno_error("wait for", "echo replies", errno);
    }
    return base::ok();
  }

  IcmpSocket* socket_;
  SenderThread* thread_;
  EchoSession* session_;
  const EchoOptions* options_;
  const ProbeSink* sink_;
  EchoSummary summary_;
  ReceiveClock clock_;
  std::int64_t last_flush_ns_ = 0;
  /// The last time the socket was known to hold nothing.
  std::int64_t seen_empty_ns_ = 0;
  std::int32_t slept_on_cpu_ = -1;
  bool left_cpu_ = false;
};

std::optional<base::Error> out_of_bounds(const EchoOptions& options) {
  const std::string target = format_address(options.target);
  if (options.interval_ns < EchoOptions::minimum_interval_ns) {
    return base::Error{"probe", target,
                       fmt::format("an interval of {} is shorter than {}", base::format_duration(options.interval_ns),
                                   base::format_duration(EchoOptions::minimum_interval_ns)),
                       "Probe less often: more than 10,000 probes/s would be a load of its own."};
  }
  if (options.duration_ns <= 0 || options.duration_ns > EchoOptions::maximum_duration_ns) {
    return base::Error{"probe", target,
                       fmt::format("a duration of {} is not within 24 h", base::format_duration(options.duration_ns)),
                       "Give a duration of more than 0 and at most 24h."};
  }
  if (options.grace_ns < 0 || options.grace_ns > grace_limit_ns) {
    return base::Error{"probe", target,
                       fmt::format("a grace time of {} is not within 3 s", base::format_duration(options.grace_ns)), ""};
  }
  return std::nullopt;
}

}  // namespace

IcmpProber::IcmpProber(EchoOptions options, IcmpSocket socket, std::uint64_t token)
    : options_(std::move(options)), socket_(std::move(socket)), token_(token) {}

base::Result<IcmpProber> IcmpProber::open(const EchoOptions& options) {
  if (std::optional<base::Error> refusal = out_of_bounds(options)) {
    return *std::move(refusal);
  }
  std::optional<NetworkNamespace> netns;
  if (!options.netns.empty()) {
    base::Result<NetworkNamespace> opened = NetworkNamespace::open(options.netns);
    if (!opened) {
      return opened.error();
    }
    netns = *std::move(opened);
  }
  base::Result<IcmpSocket> socket = IcmpSocket::open(options.target, netns ? &*netns : nullptr);
  if (!socket) {
    return socket.error();
  }
  std::uint64_t token = 0;
  if (getrandom(&token, sizeof token, 0) != static_cast<ssize_t>(sizeof token)) {
    return base::errno_error("draw", "a random session token", errno);
  }
  return IcmpProber(options, *std::move(socket), token);
}

base::Result<EchoSummary> IcmpProber::run(const std::stop_token& stop, const ProbeSink& sink) {
  base::Result<SenderThread> thread = SenderThread::tune(options_.cpu);
  if (!thread) {
    return thread.error();
  }
  const StopEvent stop_event(stop);
  if (stop_event.fd() < 0) {
    return base::errno_error("open", "an event descriptor", errno);
  }
  const std::int64_t count = std::max<std::int64_t>(1, options_.duration_ns / options_.interval_ns);
  EchoSession session({.interval_ns = options_.interval_ns, .count = count}, socket_.identifier(), token_);
  const std::int64_t start_ns = base::monotonic_ns() + lead_ns;
  session.begin(start_ns);
  Run run(socket_, *thread, session, options_, sink);
  if (const base::Status status = run.loop(stop, stop_event); !status) {
    return status.error();
  }
  EchoSummary summary = run.finish();
  summary.start_ns = start_ns;
  summary.end_ns = base::monotonic_ns();
  summary.planned = count;
  return summary;
}

}  // namespace stallscope::probe
