// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "evidence/records.h"
#include "probe/endpoint.h"
#include "probe/probe_session.h"
#include "probe/source_ports.h"

namespace stallscope::probe {

struct ProbeTarget {
  /// As the user gave it.
  std::string name;
  evidence::ProbeKind kind = evidence::ProbeKind::icmp_echo;
  Endpoint to;
  /// Of HTTP: "/health", and the host to ask for.
  std::string http_path;
  std::string http_host;
};

struct ProberOptions {
  /// Of all targets together: more is a load of its own.
  static constexpr std::int64_t default_limit_per_second = 10'000;
  static constexpr std::int64_t longest_duration_ns = 86'400 * base::ns_per_s;
  static constexpr std::int64_t longest_timeout_ns = 60 * base::ns_per_s;
  static constexpr std::size_t most_targets = 65'536;
  static constexpr std::size_t most_udp_ports = 256;

  std::vector<ProbeTarget> targets;
  /// Network namespace to probe from (see NetworkNamespace::open); empty for the caller's.
  std::string netns;
  /// Between two probes to the same target.
  std::int64_t interval_ns = base::ns_per_s;
  /// One probe per interval that fits into it, and at least one, for each target.
  std::int64_t duration_ns = 10 * base::ns_per_s;
  /// More probes per second than this, in all, are refused.
  std::int64_t limit_per_second = default_limit_per_second;
  /// A probe not answered for so long is lost.
  std::int64_t timeout_ns = 3 * base::ns_per_s;
  /// How long to wait for an answer after the last probe or the last answer, 3 s after the last probe at most. Nothing: for the
  /// timeout.
  std::optional<std::int64_t> grace_ns;
  /// How many probes can be outstanding at once; older ones are lost then, whatever the timeout. 0: as many as the rate makes.
  std::int64_t most_outstanding = 0;
  /// CPU to send from. Nothing: any, and the prober moves away from a CPU that made it late.
  std::optional<std::int32_t> cpu;
  /// Never sleep: exact to about a microsecond, for a whole CPU.
  bool busy_poll = false;
  /// Of TCP and UDP. Nothing: default_source_ports for TCP, one that the kernel chooses for UDP.
  std::optional<PortRange> source_ports;
  /// Of every echo request, so that another host can be told beforehand what to look for. Nothing: a random one.
  std::optional<std::uint16_t> icmp_identifier;
  /// What SYNs are marked by (syn_token()), for the same end. Nothing: a random one.
  std::optional<std::uint64_t> syn_token;
  /// Learn when the kernel gave each packet to the driver. Costs a system call for each batch.
  bool transmit_timestamps = true;
  /// Connections at once (HTTP, and TCP without privileges). A probe that finds none free is skipped.
  std::size_t connection_capacity = 1024;
};

struct ProbeErrorCount {
  /// An ICMP error, rather than one of this system's.
  bool icmp = false;
  /// What an ICMP error says ("port unreachable"), or why the system refused to send or to connect.
  std::string what;
  /// Who reported it last; without a family where the system did.
  Endpoint reporter;
  std::int64_t count = 0;
};

/// What a run of probes came to, and what may have distorted it.
struct ProberSummary {
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  /// Probes the schedule held; with an early stop, more than were sent.
  std::int64_t planned = 0;
  SessionCounts counts;
  bool interrupted = false;
  /// Messages that claimed to be answers but were cut short or malformed.
  std::int64_t malformed = 0;
  /// Answers the kernel dropped because a socket's receive buffer was full; each looks lost.
  std::int64_t socket_drops = 0;
  /// Errors about our probes. Those count as lost, and those that were not sent as SessionCounts::send_failed.
  std::vector<ProbeErrorCount> errors;
  /// By target.
  std::vector<std::int64_t> duplicates;
  /// Whether the prober had real-time priority; without it, ordinary tasks could make it late.
  bool realtime = false;
  /// Whether it had the priority that it asked for: real-time, or, where it never sleeps, the highest ordinary one.
  bool preferred = false;
  std::int64_t cpu_moves = 0;
  std::int64_t clock_steps = 0;
  std::int64_t replaced_timestamps = 0;
  /// Answers that were stamped by the kernel but verifiably not yet in the socket 1 ms later: they waited in this host's own
  /// receive path.
  std::int64_t late_deliveries = 0;
  std::int64_t worst_delivery_ns = 0;
  /// Source ports used again before a half-open connection at the target was sure to be gone.
  std::int64_t ports_freed_early = 0;
};

/// Probes whose fate is known, in the order in which it became known, and the phases of those among them that were HTTP, in any
/// order. Valid during the call.
struct ProbeBatch {
  std::span<const evidence::ProbeRecord> probes;
  std::span<const evidence::HttpRecord> exchanges;
};
/// Called on the thread of run(); while it runs nothing is sent, and time that it takes beyond the interval becomes the prober's
/// own lateness.
using ProbeBatchSink = std::function<void(const ProbeBatch&)>;

/// Probes of any kind to many targets at a constant rate. They are sent on an absolute schedule, spread evenly over the targets
/// (to the millisecond, where more than 2,000/s are sent), and scored from their intended time, so that a late sender or a slow
/// answer delays or hides no other probe (no coordinated omission). Packets are timed by the kernel when they leave and when their
/// answer arrives.
class Prober {
 public:
  /// Blocks for microseconds per target; probes nothing yet. Refuses what is out of bounds, targets without route, broadcast and
  /// multicast addresses, and a namespace that is missing.
  [[nodiscard]] static base::Result<Prober> open(ProberOptions options);

  Prober(Prober&&) noexcept;
  Prober& operator=(Prober&&) noexcept;
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;
  ~Prober();

  /// As probed: where a raw TCP socket is not permitted, the kind is tcp_connect.
  [[nodiscard]] const std::vector<ProbeTarget>& targets() const;
  /// The index of the target that a probe goes to.
  [[nodiscard]] std::size_t target_of(std::int64_t sequence) const;
  /// What the probes with this ProbeRecord::flow_id have in common. May be called from another thread while run() runs.
  [[nodiscard]] evidence::FlowRecord flow(std::int64_t flow_id) const;
  /// The identifier of every echo request, in host byte order; nothing where none are sent. With the lower 16 bits of a probe's
  /// sequence, which are its sequence on the wire, it names the probe in any kernel it passes.
  [[nodiscard]] std::optional<std::uint16_t> icmp_identifier() const;
  /// What the initial sequence number of every SYN is made of (evidence/syn_mark.h); nothing where none are sent.
  [[nodiscard]] std::optional<std::uint64_t> syn_token() const;
  /// What cannot be had without more privileges.
  [[nodiscard]] const std::vector<evidence::GapRecord>& gaps() const;
  /// Memory for outstanding probes.
  [[nodiscard]] std::int64_t window_bytes() const;

  /// Sends all probes and waits for the answers; blocks for the duration and the timeout. After `stop` no more probes are sent and
  /// outstanding answers are awaited for a second at most. Uses the calling thread alone (of connections from another namespace:
  /// one other), with real-time priority (SCHED_FIFO 1) where that is permitted; it gets its priority, affinity and timer slack
  /// back at the end. Refuses a CPU that it may not use. To be called once.
  [[nodiscard]] base::Result<ProberSummary> run(const std::stop_token& stop, const ProbeBatchSink& sink);

  struct State;

 private:
  explicit Prober(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace stallscope::probe
