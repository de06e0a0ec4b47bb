// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "evidence/memory_records.h"

// The records of a bundle: what collectors observed, before anybody draws a conclusion. Every time is CLOCK_MONOTONIC in
// nanoseconds of the recording host unless the name says otherwise. Text from the kernel is kept as it was read; it is made
// printable where it is rendered.

namespace stallscope::evidence {

/// What was recorded, where and when.
struct RunRecord {
  std::string tool_version;
  std::string hostname;
  std::string kernel_release;
  std::string boot_id;
  /// CLOCK_REALTIME - CLOCK_MONOTONIC at the start: turns every time of the bundle into UTC.
  std::int64_t realtime_offset_ns = 0;
  std::int64_t start_ns = 0;
  /// The last time at which anything could have been recorded; grows while recording, so it is right even after a SIGKILL.
  std::int64_t end_ns = 0;
  std::int64_t planned_duration_ns = 0;
  /// Waits shorter than this were not recorded.
  std::int64_t wait_threshold_ns = 0;
  std::int32_t cpu_count = 0;
  /// As the user gave it; empty when the node's own traffic was watched without a probe.
  std::string target;
  std::string target_address;
  /// Network namespace the probes were sent from; empty for that of the caller.
  std::string probe_netns;
  std::int64_t probe_interval_ns = 0;
  /// Whether the target's kernel is the recording kernel, so that the waits in this bundle are the target's.
  bool target_is_local = false;
  /// Whether a tracer ran. Without one, absence of waits says nothing.
  bool traced = false;
  /// "recording" until it ended: then "finished", "interrupted" (Ctrl-C, SIGTERM) or "failed".
  std::string state = "recording";

  friend bool operator==(const RunRecord&, const RunRecord&) = default;
};

/// What a probe asks.
enum class ProbeKind : std::uint8_t {
  icmp_echo,
  /// A SYN that is never completed: raw, with a source port of our choice.
  tcp_syn,
  /// connect(2), for want of the privileges for a raw SYN.
  tcp_connect,
  /// Answered by `stallscope respond`.
  udp_echo,
  http_get,
  /// Others' data in a capture, and its ACK.
  tcp_data,
};
inline constexpr std::array<ProbeKind, 6> all_probe_kinds = {ProbeKind::icmp_echo, ProbeKind::tcp_syn,  ProbeKind::tcp_connect,
                                                             ProbeKind::udp_echo,  ProbeKind::http_get, ProbeKind::tcp_data};

/// What all packets of one direction have in common that NICs and the kernel choose a receive queue by.
struct FlowRecord {
  std::int64_t id = 0;
  ProbeKind kind = ProbeKind::icmp_echo;
  /// As the user gave it: an address or a name.
  std::string target;
  std::string source_address;
  /// 0 where the kind has none, or the kernel chose one for each probe.
  std::uint16_t source_port = 0;
  std::string target_address;
  std::uint16_t target_port = 0;

  friend bool operator==(const FlowRecord&, const FlowRecord&) = default;
};

/// What came back. An answer that says "no" is an answer, too.
enum class AnswerKind : std::uint8_t {
  none,
  echo_reply,
  /// The port is open.
  syn_ack,
  /// The far host's second SYN-ACK, or a later one: the first was lost. The port is open.
  resent_syn_ack,
  /// The port is closed.
  reset,
  udp_answer,
  http_response,
  tcp_ack,
};
inline constexpr std::array<AnswerKind, 8> all_answer_kinds = {
    AnswerKind::none,  AnswerKind::echo_reply, AnswerKind::syn_ack,       AnswerKind::resent_syn_ack,
    AnswerKind::reset, AnswerKind::udp_answer, AnswerKind::http_response, AnswerKind::tcp_ack};

/// One probe. Sequences count up from 0 through all targets and do not wrap (the 16 bits of an echo request on the wire do).
struct ProbeRecord {
  static constexpr std::int64_t not_received = -1;
  static constexpr std::int64_t unknown = -1;

  std::int64_t sequence = 0;
  /// When the schedule wanted it sent. Latency is scored from here, so that a late sender hides nothing.
  std::int64_t intended_ns = 0;
  /// When sendto(2) was called. The difference to intended_ns is the prober's own lateness.
  std::int64_t sent_ns = 0;
  /// Kernel receive timestamp of the reply, or not_received.
  std::int64_t received_ns = not_received;
  /// CPU the prober sent from; of a probe sent late, the one it slept on, whose timer should have woken it.
  std::int32_t sender_cpu = -1;
  /// FlowRecord::id; 0: not recorded.
  std::int64_t flow_id = 0;
  /// Kernel transmit timestamp: when the packet left the queueing discipline for the driver. unknown where there is none.
  std::int64_t transmitted_ns = unknown;
  AnswerKind answer = AnswerKind::none;
  /// How long the far host had it, from its kernel's receive timestamp to its answer, by its own clock. unknown where it did not
  /// say.
  std::int64_t far_host_ns = unknown;
  /// When the network card sent it, and when it received the reply, by the card's clock turned into this one (some us exact). What
  /// lies between and the kernel's timestamps are this host's own queues. unknown where there is none.
  std::int64_t hardware_transmitted_ns = unknown;
  std::int64_t hardware_received_ns = unknown;

  /// A second answer in the place of a lost one is none: its time is that of the far host's timer.
  [[nodiscard]] bool answered() const { return received_ns != not_received && answer != AnswerKind::resent_syn_ack; }
  [[nodiscard]] std::int64_t rtt_ns() const { return received_ns - sent_ns; }
  /// Reply time from the intended send time: what a client on schedule would have seen.
  [[nodiscard]] std::int64_t score_ns() const { return received_ns - intended_ns; }
  [[nodiscard]] std::int64_t own_lateness_ns() const { return sent_ns - intended_ns; }
  /// How long the reply lay in this host's receive queue before the kernel had it.
  [[nodiscard]] std::int64_t own_queue_ns() const {
    return hardware_received_ns == unknown ? unknown : received_ns - hardware_received_ns;
  }

  friend bool operator==(const ProbeRecord&, const ProbeRecord&) = default;
};

/// The phases of one HTTP probe, by the prober's own clock: when connect(2) was done, when the first byte of the response was read,
/// and the last.
struct HttpRecord {
  static constexpr std::int64_t not_reached = -1;

  /// Of the probe.
  std::int64_t sequence = 0;
  std::int64_t connected_ns = not_reached;
  std::int64_t first_byte_ns = not_reached;
  std::int64_t finished_ns = not_reached;
  /// 200, 404, ...; 0: no response was understood.
  std::int32_t status = 0;

  friend bool operator==(const HttpRecord&, const HttpRecord&) = default;
};

enum class PacketLeg : std::uint8_t { request, reply };
inline constexpr std::array<PacketLeg, 2> all_packet_legs = {PacketLeg::request, PacketLeg::reply};

/// In whose context the kernel served a received packet.
enum class ServedBy : std::uint8_t { unknown, task, ksoftirqd, napi_thread, idle };
inline constexpr std::array<ServedBy, 5> all_served_by = {ServedBy::unknown, ServedBy::task, ServedBy::ksoftirqd,
                                                          ServedBy::napi_thread, ServedBy::idle};

/// A packet of a probe as the receiving kernel saw it: when it was put into a receive queue and when it was taken out.
struct PacketRecord {
  std::int64_t sequence = 0;
  PacketLeg leg = PacketLeg::request;
  std::uint32_t netns_inode = 0;
  std::int32_t ifindex = 0;
  std::string device;
  /// CPU that served it, and the RX queue the driver or RPS recorded (-1: none).
  std::int32_t cpu = -1;
  std::int32_t rx_queue = -1;
  /// netif_rx on a software device, 0 where the hardware queue hides it.
  std::int64_t enqueued_ns = 0;
  /// netif_receive_skb: the network stack begins with it.
  std::int64_t received_ns = 0;
  ServedBy served_by = ServedBy::unknown;
  std::int32_t pid = 0;
  std::string comm;
  /// That the task was in. Nothing: in none, or that could not be told.
  std::optional<std::int32_t> syscall_number;

  friend bool operator==(const PacketRecord&, const PacketRecord&) = default;
};

/// Why received packets waited on a CPU.
enum class WaitMode : std::uint8_t {
  /// Hard interrupts were disabled: nothing could be received.
  hard_irqs_off,
  /// A timer came late although user space was running, which cannot disable interrupts: the virtual CPU did not run.
  vcpu_stolen,
  /// Another softirq vector ran while NET_RX was pending.
  softirq_vector,
  /// Bottom halves were disabled (local_bh_disable) while NET_RX was pending.
  bh_off,
  /// NET_RX was pending and not served, and no sample says why.
  softirq_delayed,
  /// ksoftirqd was runnable but not running.
  ksoftirqd_delayed,
  /// A threaded NAPI's kernel thread was runnable but not running.
  napi_thread_delayed,
  /// NET_RX itself ran for long.
  net_rx_work,
  /// NET_RX ran again and again without emptying its queues, each time to the end of a budget (its own, or the queue's): more came
  /// than it could process.
  napi_budget,
};
inline constexpr std::array<WaitMode, 9> all_wait_modes = {
    WaitMode::hard_irqs_off,   WaitMode::vcpu_stolen,       WaitMode::softirq_vector,      WaitMode::bh_off,
    WaitMode::softirq_delayed, WaitMode::ksoftirqd_delayed, WaitMode::napi_thread_delayed, WaitMode::net_rx_work,
    WaitMode::napi_budget};

/// Who had the CPU, and what it was doing there.
struct Occupant {
  /// The name of a thread that perf events saw at its very end, when it had lost its pid, which is 0 then.
  static constexpr std::string_view exiting_comm = "exiting thread";
  std::int32_t pid = 0;
  std::int32_t tgid = 0;
  std::string comm;
  bool kernel_thread = false;
  [[nodiscard]] bool is_idle() const { return pid == 0 && comm != exiting_comm; }
  /// Path in the memory controller's hierarchy (cgroup v1) or in the unified one.
  std::string cgroup;
  /// Nothing: it was not in a system call, or that could not be told.
  std::optional<std::int32_t> syscall_number;
  std::array<std::uint64_t, 6> syscall_arguments{};
  /// In each of them: the arguments are not known.
  static constexpr std::uint64_t unknown_argument = std::numeric_limits<std::uint64_t>::max();
  [[nodiscard]] bool arguments_known() const {
    return std::any_of(syscall_arguments.begin(), syscall_arguments.end(),
                       [](std::uint64_t argument) { return argument != unknown_argument; });
  }
  /// Path of the file behind the descriptor in the first argument, where the system call takes one.
  std::string file;
  /// Row of the stacks table, 0 for none.
  std::int64_t stack_id = 0;
  /// Of the wait, how much this occupant accounts for.
  std::int64_t held_ns = 0;
  /// How many samples of the CPU clock back that; 0 when it was seen at the end of the wait.
  std::int32_t sample_count = 0;

  friend bool operator==(const Occupant&, const Occupant&) = default;
};

/// One interval in which a CPU could not receive.
struct WaitRecord {
  std::int64_t id = 0;
  std::int32_t cpu = -1;
  WaitMode mode = WaitMode::hard_irqs_off;
  /// Best estimate of the beginning; the true one lies in [earliest_start_ns, latest_start_ns].
  std::int64_t start_ns = 0;
  std::int64_t earliest_start_ns = 0;
  std::int64_t latest_start_ns = 0;
  std::int64_t end_ns = 0;
  /// The vector that ran, for softirq_vector and net_rx_work (numbers of include/linux/interrupt.h), else -1.
  std::int32_t vector = -1;
  /// Packets the CPU's next NET_RX run delivered: how many had been waiting, at least roughly. -1: not known.
  std::int64_t packets_released = -1;
  /// How much of it the hypervisor took, as the kernel accounted it shortly after; -1: not known.
  std::int64_t stolen_ns = -1;
  /// In order of held_ns, longest first.
  std::vector<Occupant> occupants;

  [[nodiscard]] std::int64_t length_ns() const { return end_ns - start_ns; }

  friend bool operator==(const WaitRecord&, const WaitRecord&) = default;
};

/// Consecutive samples of a CPU's clock during a wait that found the same task in the same place: in their order they tell who had
/// the CPU, one after the other.
/// With a sample_count of 0, what another CPU saw while this one served no interrupts. That is a hint: its stack was read raw,
/// while it changed, and may hold functions that had returned already.
struct SampleRecord {
  std::int64_t wait_id = 0;
  std::int64_t first_ns = 0;
  std::int64_t last_ns = 0;
  std::int32_t sample_count = 0;
  /// Of the thread; 0 is the idle task, or one of Occupant::exiting_comm.
  std::int32_t pid = 0;
  std::string comm;
  [[nodiscard]] bool is_idle() const { return pid == 0 && comm != Occupant::exiting_comm; }
  /// Row of the stacks table; 0 for none, as in user space.
  std::int64_t stack_id = 0;

  friend bool operator==(const SampleRecord&, const SampleRecord&) = default;
};

/// A stretch for which a task held the cgroup rstat lock with interrupts off (tracepoints cgroup_rstat_locked and _unlock, Linux
/// 6.10, commit fc29e04ae1ad). Independent of the timers that WaitRecords come from.
struct FlushRecord {
  std::int32_t cpu = -1;
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  std::int32_t pid = 0;
  std::int32_t tgid = 0;
  std::string comm;
  /// The cgroup that was flushed.
  std::string cgroup;

  friend bool operator==(const FlushRecord&, const FlushRecord&) = default;
};

/// A kernel stack, innermost function first.
struct StackRecord {
  std::int64_t id = 0;
  std::vector<std::string> frames;

  friend bool operator==(const StackRecord&, const StackRecord&) = default;
};

/// A counter of the kernel before and after the recording: "softnet.dropped", "softnet.time_squeeze" (packets or events) and
/// "steal" (nanoseconds) by CPU; of the network namespace that was watched, with CPU -1, "tcp.listen_overflows" and
/// "tcp.listen_drops".
struct CounterRecord {
  std::string name;
  std::int32_t cpu = -1;
  std::int64_t before = 0;
  std::int64_t after = 0;

  friend bool operator==(const CounterRecord&, const CounterRecord&) = default;
};

/// A thread in uninterruptible sleep ("D") that did not run while it was recorded.
struct BlockedTaskRecord {
  std::int32_t pid = 0;
  std::int32_t tgid = 0;
  std::string comm;
  /// The kernel function it sleeps in; empty: not known.
  std::string waits_in;
  /// For at least; when it began is not known.
  std::int64_t blocked_ns = 0;

  friend bool operator==(const BlockedTaskRecord&, const BlockedTaskRecord&) = default;
};

/// A setting of the kernel's by the name sysctl(8) gives it: "kernel.hung_task_panic".
struct SettingRecord {
  std::string name;
  std::int64_t value = 0;

  friend bool operator==(const SettingRecord&, const SettingRecord&) = default;
};

/// A socket in the network namespace that was watched, before and after the recording. Kept are those in which something waited for
/// their process, and those that dropped what they had no room for.
struct SocketRecord {
  /// "tcp", "tcp6", "udp", "udp6".
  std::string protocol;
  /// "10.0.1.2:8080", "[::]:53".
  std::string local_address;
  bool listening = false;
  /// Bytes received that were not read yet; of a listening socket, connections not accepted yet. -1: the socket was not there.
  std::int64_t queued_before = -1;
  std::int64_t queued_after = -1;
  /// Packets dropped meanwhile because the queue was full; -1: the kernel does not say (TCP).
  std::int64_t drop_count = -1;
  std::uint64_t inode = 0;
  /// Of one process that has it open; 0: not known.
  std::int32_t pid = 0;
  std::string comm;

  friend bool operator==(const SocketRecord&, const SocketRecord&) = default;
};

/// A cgroup with a limit on its CPU time that was throttled while it was recorded: one that has a process with a socket in the
/// network namespace that was watched, itself or in a cgroup below.
struct ThrottledCgroupRecord {
  /// Path in the CPU controller's hierarchy (cgroup v1) or in the unified one.
  std::string cgroup;
  /// CPU time per period, over all CPUs.
  std::int64_t quota_ns = 0;
  std::int64_t period_ns = 0;
  /// Periods in which something in it ran, and of them those in which it used up its quota.
  std::int64_t period_count = 0;
  std::int64_t throttled_count = 0;
  /// For how long it was throttled, summed over the CPUs.
  std::int64_t throttled_ns = 0;
  /// Its processes with such a socket; and one of them, if possible with a socket that accepts connections.
  std::int32_t process_count = 0;
  std::int32_t pid = 0;
  std::string comm;
  std::string protocol;
  std::string local_address;

  friend bool operator==(const ThrottledCgroupRecord&, const ThrottledCgroupRecord&) = default;
};

/// Something that could not be observed. Absence of such evidence is "unknown", never "no".
struct GapRecord {
  /// What: a short noun phrase ("kernel stacks").
  std::string what;
  std::string reason;
  /// What it costs the reader of the report.
  std::string consequence;

  friend bool operator==(const GapRecord&, const GapRecord&) = default;
};

/// Events that happened but are not in the bundle.
struct LossRecord {
  /// Where they were lost: "ring buffer", "bundle".
  std::string where;
  std::int64_t count = 0;

  friend bool operator==(const LossRecord&, const LossRecord&) = default;
};

/// A whole bundle in memory.
struct Evidence {
  RunRecord run;
  std::vector<FlowRecord> flows;
  std::vector<ProbeRecord> probes;
  std::vector<HttpRecord> http;
  std::vector<PacketRecord> packets;
  std::vector<WaitRecord> waits;
  std::vector<SampleRecord> samples;
  std::vector<FlushRecord> flushes;
  std::vector<StackRecord> stacks;
  std::optional<MemcgCensusRecord> memcg_census;
  std::vector<PinningFileRecord> pinning_files;
  std::vector<StatReadRecord> stat_reads;
  std::vector<MemoryRecord> memory;
  std::vector<SlabRecord> slabs;
  std::vector<CounterRecord> counters;
  std::vector<BlockedTaskRecord> blocked_tasks;
  std::vector<SettingRecord> settings;
  std::vector<SocketRecord> sockets;
  std::vector<ThrottledCgroupRecord> throttled_cgroups;
  std::vector<GapRecord> gaps;
  std::vector<LossRecord> losses;

  /// Whether the probes, if any, were ICMP echoes: a bundle without flows has no others.
  [[nodiscard]] bool only_echoes() const {
    return std::all_of(flows.begin(), flows.end(), [](const FlowRecord& flow) { return flow.kind == ProbeKind::icmp_echo; });
  }

  friend bool operator==(const Evidence&, const Evidence&) = default;
};

/// "hard IRQs off", "softirq vector", ...: as the report prints a mode.
[[nodiscard]] std::string_view wait_mode_title(WaitMode mode);
/// "hard_irqs_off", ...: as the bundle and the JSON name a mode.
[[nodiscard]] std::string_view wait_mode_id(WaitMode mode);
[[nodiscard]] std::optional<WaitMode> wait_mode_from_id(std::string_view id);
/// "HI", "TIMER", "NET_TX", ... of include/linux/interrupt.h; "?" for an unknown number.
[[nodiscard]] std::string_view softirq_vector_name(std::int32_t vector);
/// "request", "reply".
[[nodiscard]] std::string_view packet_leg_id(PacketLeg leg);
[[nodiscard]] std::optional<PacketLeg> packet_leg_from_id(std::string_view id);
/// "icmp_echo", "tcp_syn", ...
[[nodiscard]] std::string_view probe_kind_id(ProbeKind kind);
[[nodiscard]] std::optional<ProbeKind> probe_kind_from_id(std::string_view id);
/// "none", "echo_reply", "syn_ack", ...
[[nodiscard]] std::string_view answer_kind_id(AnswerKind kind);
[[nodiscard]] std::optional<AnswerKind> answer_kind_from_id(std::string_view id);
/// "task", "ksoftirqd", "napi_thread", "idle", "unknown".
[[nodiscard]] std::string_view served_by_id(ServedBy context);
[[nodiscard]] std::optional<ServedBy> served_by_from_id(std::string_view id);

}  // namespace stallscope::evidence
