// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "evidence/records.h"
#include "probe/echo_session.h"
#include "probe/icmp_socket.h"

namespace stallscope::probe {

struct EchoOptions {
  /// 10,000 probes/s: more is a load of its own.
  static constexpr std::int64_t minimum_interval_ns = 100 * base::ns_per_us;
  static constexpr std::int64_t maximum_duration_ns = 86'400 * base::ns_per_s;

  in_addr target{};
  /// Network namespace to probe from (see NetworkNamespace::open); empty for the caller's.
  std::string netns;
  std::int64_t interval_ns = 10 * base::ns_per_ms;
  /// One probe per interval that fits into it, and at least one.
  std::int64_t duration_ns = 20 * base::ns_per_s;
  /// CPU to send from. Nothing: any, and the prober moves away from a CPU that made it late (see EchoSummary::cpu_moves).
  std::optional<std::int32_t> cpu;
  /// How long to wait for a reply after the last probe or the last reply. From 0 to 3 s, which is also the limit of the wait.
  std::int64_t grace_ns = base::ns_per_s;
};

struct IcmpErrorCount {
  /// See icmp_error_name().
  std::uint8_t type = 0;
  std::uint8_t code = 0;
  /// The host that reported it last.
  in_addr reporter{};
  std::int64_t count = 0;
};

struct SendErrorCount {
  int error_number = 0;
  std::int64_t count = 0;
};

/// What a run of probes came to, and what may have distorted it.
struct EchoSummary {
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  /// Probes the schedule held; with an early stop, more than were sent.
  std::int64_t planned = 0;
  SessionCounts counts;
  bool interrupted = false;
  /// Messages that claimed to be replies but were cut short or had a wrong checksum.
  std::int64_t malformed = 0;
  /// Replies the kernel dropped because the socket's receive buffer was full; each looks lost.
  std::int64_t socket_drops = 0;
  /// ICMP errors about our probes, by type and code. Such probes count as lost.
  std::vector<IcmpErrorCount> icmp_errors;
  /// Sends the system refused, by errno; in sum SessionCounts::send_failed.
  std::vector<SendErrorCount> send_errors;
  /// Whether the prober had real-time priority; without it, ordinary tasks could make it late.
  bool realtime = false;
  /// How often the prober left a CPU on which it had been late.
  std::int64_t cpu_moves = 0;
  /// Steps of the wall clock, and kernel timestamps that were replaced by the time of reading (see ReceiveClock).
  std::int64_t clock_steps = 0;
  std::int64_t replaced_timestamps = 0;
  /// Replies that were stamped by the kernel but verifiably not yet in the socket late_delivery_ns later: they waited in this
  /// host's own receive path, which received_ns does not show. Software devices stamp before their queue (sysctl
  /// net.core.netdev_tstamp_prequeue).
  std::int64_t late_deliveries = 0;
  std::int64_t worst_delivery_ns = 0;
};

/// Gets finished probes: answered ones soon after their reply, lost ones at the end. Called on the thread of run(), between two
/// sends where there is time; while it runs nothing is sent, and time that it takes beyond the interval becomes the prober's own
/// lateness. The span is valid during the call.
using ProbeSink = std::function<void(std::span<const evidence::ProbeRecord>)>;

/// ICMP echo at a constant rate. Probes are sent on an absolute schedule and scored from their intended time, so that a late
/// sender or a slow reply delays or hides no other probe (no coordinated omission). Replies are timed by the kernel when they are
/// received.
class IcmpProber {
 public:
  /// Blocks for microseconds; probes nothing yet. Refuses an interval, duration or grace time out of bounds, a target without
  /// route, a broadcast address, and a namespace that is missing.
  [[nodiscard]] static base::Result<IcmpProber> open(const EchoOptions& options);

  /// The ICMP identifier of every probe, in host byte order. With the lower 16 bits of a probe's sequence, which are its sequence
  /// on the wire, it names the probe in any kernel it passes.
  [[nodiscard]] std::uint16_t identifier() const { return socket_.identifier(); }
  [[nodiscard]] IcmpSocketKind socket_kind() const { return socket_.kind(); }

  /// Sends all probes and waits for the replies; blocks for the duration and the grace time. After `stop` no more probes are sent
  /// and outstanding replies are awaited for the grace time at most. Uses the calling thread alone: it runs with real-time priority
  /// (SCHED_FIFO 1) where that is permitted, `sink` included, and gets its priority, affinity and
  /// timer slack back at the end. Refuses a CPU that it may not use. To be called once.
  [[nodiscard]] base::Result<EchoSummary> run(const std::stop_token& stop, const ProbeSink& sink);

 private:
  IcmpProber(EchoOptions options, IcmpSocket socket, std::uint64_t token);

  EchoOptions options_;
  IcmpSocket socket_;
  std::uint64_t token_;
};

}  // namespace stallscope::probe
