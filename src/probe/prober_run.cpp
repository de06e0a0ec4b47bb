// SPDX-License-Identifier: Apache-2.0
#include "probe/prober_run.h"

#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <utility>

#include "base/clock.h"
#include "base/units.h"
#include "probe/echo_packet.h"
#include "probe/error_counts.h"
#include "probe/prober_state.h"
#include "probe/receive_clock.h"
#include "probe/sender_thread.h"
#include "probe/stop_event.h"

namespace stallscope::probe {
namespace {

using evidence::ProbeKind;
using evidence::ProbeRecord;

/// Between the call of run() and the first probe: lets the thread reach its sleep, so that the first probe is on time.
constexpr std::int64_t run_lead_ns = base::ns_per_ms;
/// Later than a busy scheduler makes us, earlier than a stall worth reporting.
constexpr std::int64_t leave_cpu_after_ns = 5 * base::ns_per_ms;
constexpr std::int64_t late_delivery_after_ns = base::ns_per_ms;
/// Finished probes are handed over in batches of this size, or this often when they come slowly.
constexpr std::size_t hand_over_count = 256;
constexpr std::int64_t hand_over_period_ns = 100 * base::ns_per_ms;
/// In a burst of overdue probes, answers are read after this many, so that they neither fill the receive buffer nor wait long.
constexpr int send_burst = 128;
/// Until the next send is so near, answers do not wake the prober: the kernel has stamped them, and each waking costs.
constexpr std::int64_t timed_sleep_ns = 2 * base::ns_per_ms;
/// After a stop request: no longer than this for what is outstanding.
constexpr std::int64_t stop_grace_ns = base::ns_per_s;
constexpr std::int64_t grace_limit_ns = 3 * base::ns_per_s;

/// One run of a prober.
class ProberRun {
 public:
  ProberRun(Prober::State& state, SenderThread& thread, const ProbeBatchSink& sink)
      : state_(state), session_(state.session), thread_(thread), sink_(sink) {
    summary_.duplicates.resize(state.targets.size());
    exchanges_.reserve(exchange_capacity);
    for (const Link& link : state_.links) {
      polled_.push_back({link.channel.fd(), POLLIN, 0});
    }
    if (state_.connections) {
      polled_.push_back({state_.connections->fd(), POLLIN, 0});
    }
  }

  base::Status loop(const std::stop_token& stop) {
    const StopEvent stop_event(stop);
    if (stop_event.fd() < 0) {
      return base::errno_error("open", "an event descriptor", errno);
    }
    polled_.push_back({stop_event.fd(), POLLIN, 0});
    last_hand_over_ns_ = base::monotonic_ns();
    std::int64_t timeout_ns = state_.options.timeout_ns;
    while (true) {
      if (stop.stop_requested() && !stopped_) {
        stopped_ = true;
        summary_.interrupted = session_.next_send_ns().has_value();
        session_.stop_sending();
        timeout_ns = std::min(timeout_ns, stop_grace_ns);
        // Readable from now on, which would keep us from sleeping.
        polled_.pop_back();
      }
      send_due();
      // Taken before the sockets are read: answers that came while we did not run must not be cut off by the deadline.
      const std::int64_t now_ns = base::monotonic_ns();
      drain();
      session_.expire(now_ns, timeout_ns);
      settle();
      const std::optional<std::int64_t> next_send_ns = session_.next_send_ns();
      if (!next_send_ns && (session_.outstanding_count() == 0 || now_ns >= end_of_wait_ns(timeout_ns))) {
        return base::ok();
      }
      hand_over(next_send_ns.value_or(now_ns + hand_over_period_ns));
      if (base::Status status = sleep_until(next_send_ns, timeout_ns); !status) {
        return status;
      }
    }
  }

  ProberSummary finish() {
    session_.finish();
    if (!session_.finished().empty() || !exchanges_.empty()) {
      give();
    }
    summary_.counts = session_.counts();
    for (const Link& link : state_.links) {
      summary_.socket_drops += link.channel.dropped();
    }
    summary_.errors = errors_.all();
    summary_.realtime = thread_.realtime();
    summary_.preferred = thread_.preferred();
    summary_.clock_steps = clock_.steps();
    summary_.replaced_timestamps = clock_.replaced();
    summary_.ports_freed_early = state_.tcp_ports ? state_.tcp_ports->freed_early_count() : 0;
    return std::move(summary_);
  }

 private:
  static constexpr std::size_t exchange_capacity = 4096;

  /// Until when answers are awaited once the last probe was sent.
  [[nodiscard]] std::int64_t end_of_wait_ns(std::int64_t timeout_ns) const {
    return state_.options.grace_ns ? grace_deadline_ns(session_, *state_.options.grace_ns, grace_limit_ns)
                                   : session_.last_sent_ns() + timeout_ns;
  }

  /// One burst at most, so that answers, the sink and a stop request get their turn.
  void send_due() {
    const std::int64_t now_ns = base::monotonic_ns();
    for (int i = 0; i < send_burst; ++i) {
      const std::optional<DueProbe> probe = session_.next_due(now_ns);
      if (!probe) {
        break;
      }
      prepare(*probe, now_ns);
    }
    for (Link& link : state_.links) {
      flush(link);
    }
  }

  void prepare(const DueProbe& probe, std::int64_t now_ns) {
    const std::size_t index = state_.target_of(probe.sequence);
    const ProbeTarget& target = state_.options.targets[index];
    const TargetState& state = state_.targets[index];
    if (state.link_count == 0) {
      start_connection(probe, target, state);
      return;
    }
    const std::int64_t round = probe.sequence / state_.schedule.target_count;
    const auto turn = static_cast<std::size_t>(round) % state.link_count;
    PacketLabel label{.sequence = probe.sequence, .from = state.from, .to = target.to, .now_ns = now_ns};
    std::int64_t flow_id = state.first_flow_id + static_cast<std::int64_t>(turn);
    if (target.kind == ProbeKind::tcp_syn) {
      const std::optional<std::uint16_t> port = state_.tcp_ports->take(state.tcp_index, now_ns);
      if (!port) {
        session_.skip();
        return;
      }
      label.from.port = *port;
      flow_id = state.first_flow_id + *port - state_.tcp_ports->range().first;
    }
    Link& link = state_.links[state.first_link + turn];
    link.pending[link.channel.batched()] = {probe, flow_id};
    link.channel.add(link.kind->build(label, link.channel.next_packet()), target.to, probe.sequence);
    if (link.channel.batched() == Channel::batch_size) {
      flush(link);
    }
  }

  void flush(Link& link) {
    std::size_t first = 0;
    bool retried = false;
    while (first < link.channel.batched()) {
      const std::int32_t cpu = sched_getcpu();
      const std::int64_t sent_ns = base::monotonic_ns();
      int error_number = 0;
      const std::size_t sent_count = link.channel.send(first, error_number);
      for (std::size_t i = first; i < first + sent_count; ++i) {
        sent(link.pending.at(i), sent_ns, cpu);
      }
      first += sent_count;
      if (error_number == 0) {
        retried = false;
        continue;
      }
      // An ICMP error about an earlier probe makes one send fail in its place; that is no reason to lose this probe.
      drain_errors(link);
      if (retried) {
        errors_.add({.error_number = error_number});
        session_.send_failed();
        give_port_back(link.pending.at(first));
        ++first;
      }
      retried = !retried;
    }
    link.channel.clear_batch();
  }

  void sent(const Link::Pending& pending, std::int64_t sent_ns, std::int32_t cpu) {
    const bool late = sent_ns - pending.probe.intended_ns > leave_cpu_after_ns;
    session_.sent(pending.probe, sent_ns, late && slept_on_cpu_ >= 0 ? slept_on_cpu_ : cpu, pending.flow_id);
    // The timer that wakes us runs on the CPU we went to sleep on, so that is the one to leave. Once per sleep: the probes of one
    // burst are late for the same reason.
    if (late && slept_on_cpu_ >= 0 && !left_cpu_) {
      summary_.cpu_moves += thread_.avoid(slept_on_cpu_) ? 1 : 0;
      left_cpu_ = true;
    }
  }

  void give_port_back(const Link::Pending& pending) {
    const std::size_t index = state_.target_of(pending.probe.sequence);
    if (state_.options.targets[index].kind == ProbeKind::tcp_syn) {
      state_.tcp_ports->answered(state_.targets[index].tcp_index, source_port_of(index, pending.flow_id));
    }
  }

  [[nodiscard]] std::uint16_t source_port_of(std::size_t target_index, std::int64_t flow_id) const {
    return static_cast<std::uint16_t>(state_.tcp_ports->range().first + (flow_id - state_.targets[target_index].first_flow_id));
  }

  void start_connection(const DueProbe& probe, const ProbeTarget& target, const TargetState& state) {
    if (state_.connections->full()) {
      session_.skip();
      return;
    }
    const std::int64_t sent_ns = base::monotonic_ns();
    const int error_number = state_.connections->start(probe.sequence, target.to, state.http_request);
    if (error_number != 0) {
      errors_.add({.error_number = error_number});
      session_.send_failed();
      return;
    }
    sent({probe, state.first_flow_id}, sent_ns, sched_getcpu());
  }

  void drain() {
    for (Link& link : state_.links) {
      drain_link(link);
    }
    if (state_.connections) {
      collect_connections();
    }
  }

  void drain_link(Link& link) {
    if (state_.options.transmit_timestamps) {
      drain_errors(link);
    }
    while (true) {
      const std::int64_t before_ns = base::monotonic_ns();
      const std::span<const ReceivedPacket> packets = link.channel.receive();
      if (!packets.empty()) {
        const std::int64_t offset_ns = base::realtime_offset_ns();
        clock_.observe(base::monotonic_ns(), offset_ns);
      }
      for (const ReceivedPacket& packet : packets) {
        take(link, packet);
      }
      if (packets.size() < Channel::batch_size) {
        link.seen_empty_ns = before_ns;
        break;
      }
      settle();
      hand_over(before_ns);
    }
    if (!state_.options.transmit_timestamps) {
      drain_errors(link);
    }
  }

  void take(Link& link, const ReceivedPacket& packet) {
    bool malformed = packet.truncated;
    const std::optional<MarkedPacket> marked =
        packet.truncated ? std::nullopt : link.kind->parse_answer(packet.payload, session_.newest_sequence(), malformed);
    summary_.malformed += malformed ? 1 : 0;
    if (!marked) {
      return;
    }
    const ProbeRecord* probe = session_.find(marked->sequence);
    if (probe == nullptr || !is_from_target(link, *marked, packet.from, *probe)) {
      session_.foreign();
      return;
    }
    std::int64_t received_ns = 0;
    if (session_.is_outstanding(marked->sequence)) {
      if (probe->transmitted_ns == ProbeRecord::unknown && state_.options.transmit_timestamps) {
        // It left before its answer came, but perhaps after the error queue was read.
        drain_errors(link);
      }
      received_ns = clock_.to_monotonic(packet.stamps.software_ns, probe->sent_ns);
      const std::int64_t delivery_ns = link.seen_empty_ns - received_ns;
      summary_.late_deliveries += delivery_ns > late_delivery_after_ns ? 1 : 0;
      summary_.worst_delivery_ns = std::max(summary_.worst_delivery_ns, delivery_ns);
    }
    AnswerDetails details = marked->details;
    if (const std::optional<std::int64_t> hardware_ns = hardware_time_of(packet.stamps)) {
      details.hardware_received_ns = *hardware_ns;
    }
    if (details.kind == evidence::AnswerKind::syn_ack && received_ns > 0 &&
        state_.targets[state_.target_of(marked->sequence)].resent.is_resent(probe->sent_ns, received_ns,
                                                                            marked->far_timestamp_ms)) {
      details.kind = evidence::AnswerKind::resent_syn_ack;
    }
    const ReplyVerdict verdict = session_.received(marked->sequence, received_ns, details);
    summary_.duplicates[state_.target_of(marked->sequence)] += verdict == ReplyVerdict::duplicate ? 1 : 0;
  }

  /// By the monotonic clock; nothing where there is none.
  [[nodiscard]] std::optional<std::int64_t> hardware_time_of(const PacketStamps& stamps) {
    return stamps.hardware_ns && state_.phc ? state_.phc->to_monotonic(*stamps.hardware_ns, base::monotonic_ns()) : std::nullopt;
  }

  /// The sequence says which probe is answered; the addresses have to agree with where that went.
  [[nodiscard]] bool is_from_target(const Link& link, const MarkedPacket& marked, const Endpoint& from,
                                    const ProbeRecord& probe) const {
    const std::size_t index = state_.target_of(marked.sequence);
    const ProbeTarget& target = state_.options.targets[index];
    if (target.kind != link.channel.kind() || !target.to.same_address(from)) {
      return false;
    }
    if (target.kind == ProbeKind::tcp_syn) {
      return marked.target_port == target.to.port && marked.source_port == source_port_of(index, probe.flow_id);
    }
    return target.kind != ProbeKind::udp_echo || from.port == target.to.port;
  }

  void drain_errors(Link& link) {
    bool more = true;
    while (more) {
      const std::span<const QueuedError> errors = link.channel.receive_errors(more);
      if (errors.empty()) {
        continue;
      }
      const std::int64_t offset_ns = base::realtime_offset_ns();
      const std::int64_t now_ns = base::monotonic_ns();
      for (const QueuedError& error : errors) {
        if (error.transmitted) {
          take_transmitted(*error.transmitted, offset_ns, now_ns);
        } else if (link.kind->parse_quoted(error.quoted, session_.newest_sequence())) {
          errors_.add({.icmp = true,
                       .version = link.channel.family() == AF_INET6 ? IcmpVersion::v6 : IcmpVersion::v4,
                       .type = error.type,
                       .code = error.code,
                       .reporter = error.reporter});
        }
      }
    }
  }

  void take_transmitted(const QueuedError::Transmitted& transmitted, std::int64_t realtime_offset_ns, std::int64_t now_ns) {
    if (transmitted.stamps.software_ns) {
      session_.transmitted(transmitted.sequence, *transmitted.stamps.software_ns - realtime_offset_ns, now_ns);
    }
    if (const std::optional<std::int64_t> hardware_ns = hardware_time_of(transmitted.stamps)) {
      session_.hardware_transmitted(transmitted.sequence, *hardware_ns, now_ns);
    }
  }

  /// Of HTTP, whether or not it was answered: how far a lost one came says which side to look at.
  void keep_phases(const FinishedConnection& connection) {
    const ProbeTarget& target = state_.options.targets[state_.target_of(connection.sequence)];
    if (target.kind == ProbeKind::http_get && exchanges_.size() < exchange_capacity) {
      exchanges_.push_back(connection.phases());
    }
  }

  void collect_connections() {
    while (true) {
      const std::span<const FinishedConnection> finished = state_.connections->collect();
      for (const FinishedConnection& connection : finished) {
        keep_phases(connection);
        if (connection.answer == evidence::AnswerKind::none) {
          errors_.add({.error_number = connection.error_number});
          continue;
        }
        session_.received(connection.sequence, connection.finished_ns, {.kind = connection.answer});
      }
      if (finished.empty()) {
        return;
      }
    }
  }

  /// Draws the consequences of what became of probes since the last time.
  void settle() {
    const std::span<const ProbeRecord> finished = session_.finished();
    for (; settled_ < finished.size(); ++settled_) {
      const ProbeRecord& probe = finished[settled_];
      const std::size_t index = state_.target_of(probe.sequence);
      const ProbeKind kind = state_.options.targets[index].kind;
      if (kind == ProbeKind::tcp_syn) {
        const std::uint16_t port = source_port_of(index, probe.flow_id);
        if (probe.answered()) {
          state_.tcp_ports->answered(state_.targets[index].tcp_index, port);
        } else {
          state_.tcp_ports->lost(state_.targets[index].tcp_index, port, base::monotonic_ns());
        }
      } else if (state_.targets[index].link_count == 0 && !probe.answered()) {
        if (const std::optional<FinishedConnection> unanswered = state_.connections->abandon(probe.sequence)) {
          keep_phases(*unanswered);
        }
      }
    }
  }

  /// Hands finished probes over if there is time before `wake_ns`, or if they would outgrow the session's buffer.
  void hand_over(std::int64_t wake_ns) {
    const std::size_t waiting = session_.finished().size();
    const std::int64_t now_ns = base::monotonic_ns();
    const bool period_ends = std::max(now_ns, wake_ns) - last_hand_over_ns_ >= hand_over_period_ns;
    const bool wanted = waiting >= hand_over_count || (waiting > 0 && period_ends);
    if ((wanted && now_ns < wake_ns) || waiting >= hand_over_at_latest || exchanges_.size() >= exchange_capacity / 2) {
      give();
      last_hand_over_ns_ = now_ns;
    }
  }

  void give() {
    settle();
    sink_({session_.finished(), exchanges_});
    session_.clear_finished();
    exchanges_.clear();
    settled_ = 0;
  }

  base::Status sleep_until(std::optional<std::int64_t> next_send_ns, std::int64_t timeout_ns) {
    const std::int64_t now_ns = base::monotonic_ns();
    const bool waits = session_.outstanding_count() > 0 || !session_.finished().empty();
    std::int64_t wake_ns = next_send_ns.value_or(end_of_wait_ns(timeout_ns));
    if (waits) {
      wake_ns = std::min(wake_ns, now_ns + hand_over_period_ns);
    }
    if (wake_ns <= now_ns || (state_.options.busy_poll && next_send_ns)) {
      return base::ok();
    }
    slept_on_cpu_ = sched_getcpu();
    left_cpu_ = false;
    if (next_send_ns && wake_ns == *next_send_ns && wake_ns - now_ns <= timed_sleep_ns && !state_.connections) {
      const timespec until{wake_ns / base::ns_per_s, wake_ns % base::ns_per_s};
      static_cast<void>(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr));
      return base::ok();
    }
    const timespec timeout{(wake_ns - now_ns) / base::ns_per_s, (wake_ns - now_ns) % base::ns_per_s};
    if (ppoll(polled_.data(), polled_.size(), &timeout, nullptr) < 0 && errno != EINTR) {
      return base::errno_error("wait for", "answers", errno);
    }
    return base::ok();
  }

  static constexpr std::size_t hand_over_at_latest = 4096;

  Prober::State& state_;
  ProbeSession& session_;
  SenderThread& thread_;
  const ProbeBatchSink& sink_;
  ProberSummary summary_;
  ReceiveClock clock_;
  ErrorCounts errors_;
  std::vector<evidence::HttpRecord> exchanges_;
  std::vector<pollfd> polled_;
  bool stopped_ = false;
  std::size_t settled_ = 0;
  std::int64_t last_hand_over_ns_ = 0;
  std::int32_t slept_on_cpu_ = -1;
  bool left_cpu_ = false;
};

}  // namespace

base::Result<ProberSummary> run_prober(Prober::State& state, const std::stop_token& stop, const ProbeBatchSink& sink) {
  // Waking up takes about as long: at such rates there is no time to sleep.
  constexpr std::int64_t shortest_sleep_ns = 25 * base::ns_per_us;
  const ProbeSchedule& schedule = state.schedule;
  const bool sleeps =
      !state.options.busy_poll && std::max(schedule.grid_ns, schedule.interval_ns / schedule.target_count) > shortest_sleep_ns;
  base::Result<SenderThread> thread = SenderThread::tune(state.options.cpu, sleeps ? Sleep::between_probes : Sleep::never);
  if (!thread) {
    return thread.error();
  }
  ProberRun run(state, *thread, sink);
  const std::int64_t start_ns = base::monotonic_ns() + run_lead_ns;
  state.session.begin(start_ns);
  if (const base::Status status = run.loop(stop); !status) {
    return status.error();
  }
  ProberSummary summary = run.finish();
  summary.start_ns = start_ns;
  summary.end_ns = base::monotonic_ns();
  summary.planned = state.schedule.count;
  return summary;
}

}  // namespace stallscope::probe
