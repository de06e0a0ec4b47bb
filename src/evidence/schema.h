// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "evidence/records.h"

// The one definition of the bundle's tables. Each Table<Record> names its columns, the members behind them, the values they may
// hold and what they mean; CREATE TABLE with its comments, INSERT, SELECT, the binding and the checked reading of a row are all
// made from it.
namespace stallscope::evidence {

/// The integers a column may hold. Writer and reader refuse the same ones, so nothing can be written that cannot be read.
struct Range {
  std::int64_t minimum = std::numeric_limits<std::int64_t>::min();
  std::int64_t maximum = std::numeric_limits<std::int64_t>::max();

  [[nodiscard]] constexpr bool holds(std::int64_t value) const { return value >= minimum && value <= maximum; }
};

/// Of any two times or lengths below 2^62 the sum and the difference fit 64 bits, so arithmetic on a hostile bundle stays defined.
inline constexpr std::int64_t longest_ns = (std::int64_t{1} << 62U) - 1;
inline constexpr Range any_integer{};
inline constexpr Range nanoseconds{0, longest_ns};
inline constexpr Range nanoseconds_or_none{-1, longest_ns};
inline constexpr Range clock_offset_ns{-longest_ns, longest_ns};
/// 2^53: the largest count that JSON and floating point keep exactly.
inline constexpr std::int64_t largest_count = std::int64_t{1} << 53U;
inline constexpr Range counts{0, largest_count};
inline constexpr Range counts_or_unknown{-1, largest_count};
/// Linux has at most 8,192 CPUs (NR_CPUS) and 65,536 queues per device (skb->queue_mapping has 16 bits). The bound keeps a reader
/// that sizes an array by the highest CPU safe.
inline constexpr Range cpus{0, 65'535};
inline constexpr Range cpus_or_none{-1, 65'535};
inline constexpr Range softirq_vectors_or_none{-1, 31};
inline constexpr Range ports{0, 65'535};
inline constexpr Range process_ids{0, std::numeric_limits<std::int32_t>::max()};

/// One column: `member` is a pointer to the record's member, or a function from the record to a reference.
template <typename Member>
struct Column {
  std::string_view name;
  Member member;
  Range range;
  std::string_view about;
};
// clang 14 does not deduce the arguments of aggregates by itself.
template <typename Member>
Column(std::string_view, Member, Range, std::string_view) -> Column<Member>;

/// A row that exists once. The key makes a later row replace the earlier.
template <typename Record>
struct OnlyRow : Record {
  std::int32_t id = 1;
};
inline constexpr Range only_id{1, 1};

struct OccupantRow : Occupant {
  std::int64_t wait_id = 0;
  std::int32_t rank = 0;
};

struct StackFrameRow {
  std::int64_t stack_id = 0;
  std::int32_t position = 0;
  std::string function;
};

template <std::size_t index>
inline constexpr auto syscall_argument = [](auto& occupant) -> auto& {
  return std::get<index>(occupant.syscall_arguments);
};

/// How rows with the same key meet.
enum class Conflict : std::uint8_t { refuse, replace };

/// name, about: of the table. key: the primary key's columns, by which rows are ordered; empty where rows are kept in the order in
/// which they were added. without_rowid: for keys other than one integer. constraint: on the row as a whole.
template <typename Record>
struct Table;

struct TableDefaults {
  static constexpr std::string_view key{};
  static constexpr std::string_view constraint{};
  static constexpr bool without_rowid = false;
  static constexpr Conflict conflict = Conflict::refuse;
};

template <>
struct Table<OnlyRow<RunRecord>> : TableDefaults {
  using Row = OnlyRow<RunRecord>;
  static constexpr std::string_view name = "run";
  static constexpr std::string_view about =
      "What was recorded, where and when: one row. Every time in this file is CLOCK_MONOTONIC of the recording host.";
  static constexpr std::string_view key = "id";
  static constexpr Conflict conflict = Conflict::replace;
  static constexpr std::tuple columns{
      Column{"id", &Row::id, only_id, "always 1"},
      Column{"tool_version", &Row::tool_version, any_integer, "stallscope that wrote this file"},
      Column{"hostname", &Row::hostname, any_integer, "of the recording host"},
      Column{"kernel_release", &Row::kernel_release, any_integer, "as uname -r"},
      Column{"boot_id", &Row::boot_id, any_integer, "/proc/sys/kernel/random/boot_id: bundles with the same one share a clock"},
      Column{"realtime_offset_ns", &Row::realtime_offset_ns, clock_offset_ns, "add it to any time to get ns since 1970 UTC"},
      Column{"start_ns", &Row::start_ns, nanoseconds, ""},
      Column{"end_ns", &Row::end_ns, nanoseconds, "last time at which anything could have been recorded"},
      Column{"planned_duration_ns", &Row::planned_duration_ns, nanoseconds, ""},
      Column{"wait_threshold_ns", &Row::wait_threshold_ns, nanoseconds, "shorter waits were not recorded"},
      Column{"cpu_count", &Row::cpu_count, cpus, ""},
      Column{"target", &Row::target, any_integer, "as given; empty: no probes, only this node was watched"},
      Column{"target_address", &Row::target_address, any_integer, ""},
      Column{"probe_netns", &Row::probe_netns, any_integer, "network namespace probes were sent from; empty: the caller's"},
      Column{"probe_interval_ns", &Row::probe_interval_ns, nanoseconds, ""},
      Column{"target_is_local", &Row::target_is_local, any_integer, "1: the waits in this file are the target's"},
      Column{"traced", &Row::traced, any_integer, "0: no tracer ran, so the absence of waits says nothing"},
      Column{"state", &Row::state, any_integer, "recording (or killed while at it), finished, interrupted, failed"}};
};

template <>
struct Table<FlowRecord> : TableDefaults {
  static constexpr std::string_view name = "flow";
  static constexpr std::string_view about = "Addresses and ports that probes went by: what receive queues are chosen from.";
  static constexpr std::string_view key = "id";
  static constexpr Conflict conflict = Conflict::replace;
  static constexpr std::tuple columns{
      Column{"id", &FlowRecord::id, Range{1, largest_count}, ""},
      Column{"kind", &FlowRecord::kind, any_integer, ""},
      Column{"target", &FlowRecord::target, any_integer, "as given: a name or an address"},
      Column{"source_address", &FlowRecord::source_address, any_integer, "empty: not known"},
      Column{"source_port", &FlowRecord::source_port, ports, "0: none, or the kernel chose one for each probe"},
      Column{"target_address", &FlowRecord::target_address, any_integer, ""},
      Column{"target_port", &FlowRecord::target_port, ports, "0: none"}};
};

template <>
struct Table<ProbeRecord> : TableDefaults {
  static constexpr std::string_view name = "probe";
  static constexpr std::string_view about = "One probe and its answer.";
  static constexpr std::string_view key = "sequence";
  static constexpr Conflict conflict = Conflict::replace;
  static constexpr std::tuple columns{
      Column{"sequence", &ProbeRecord::sequence, counts, "counts up from 0; in an echo request modulo 65536"},
      Column{"intended_ns", &ProbeRecord::intended_ns, nanoseconds,
             "when the schedule wanted it sent; latency is scored from here"},
      Column{"sent_ns", &ProbeRecord::sent_ns, nanoseconds, "when it was sent; minus intended_ns: the prober's own lateness"},
      Column{"received_ns", &ProbeRecord::received_ns, nanoseconds_or_none, "the kernel's receive timestamp; -1: no reply"},
      Column{"sender_cpu", &ProbeRecord::sender_cpu, cpus_or_none, "-1: not known"},
      Column{"flow_id", &ProbeRecord::flow_id, counts, "flow.id; 0: not recorded"},
      Column{"transmitted_ns", &ProbeRecord::transmitted_ns, nanoseconds_or_none, "the kernel's transmit timestamp; -1: not known"},
      Column{"answer", &ProbeRecord::answer, any_integer, ""},
      Column{"far_host_ns", &ProbeRecord::far_host_ns, nanoseconds_or_none, "time the far host had it, by its clock; -1: not told"},
      Column{"hardware_transmitted_ns", &ProbeRecord::hardware_transmitted_ns, nanoseconds_or_none,
             "the network card's transmit timestamp; -1: not known"},
      Column{"hardware_received_ns", &ProbeRecord::hardware_received_ns, nanoseconds_or_none,
             "the card's receive timestamp: until received_ns it lay in this host's receive queue; -1: not known"}};
};

template <>
struct Table<HttpRecord> : TableDefaults {
  static constexpr std::string_view name = "http";
  static constexpr std::string_view about = "The phases of a probe by HTTP, by the prober's own clock.";
  static constexpr std::string_view key = "sequence";
  static constexpr Conflict conflict = Conflict::replace;
  static constexpr std::tuple columns{
      Column{"sequence", &HttpRecord::sequence, counts, "of the probe"},
      Column{"connected_ns", &HttpRecord::connected_ns, nanoseconds_or_none, "connect(2) was done; -1: it did not come to that"},
      Column{"first_byte_ns", &HttpRecord::first_byte_ns, nanoseconds_or_none, "of the response; -1: it did not come to that"},
      Column{"finished_ns", &HttpRecord::finished_ns, nanoseconds_or_none, "the response was whole; -1: it did not come to that"},
      Column{"status", &HttpRecord::status, Range{0, 999}, "of the response; 0: none was understood"}};
};

template <>
struct Table<PacketRecord> : TableDefaults {
  static constexpr std::string_view name = "packet";
  static constexpr std::string_view about = "A packet of a probe as the receiving kernel saw it.";
  static constexpr std::tuple columns{
      Column{"sequence", &PacketRecord::sequence, counts, "of the probe"},
      Column{"leg", &PacketRecord::leg, any_integer, ""},
      Column{"netns_inode", &PacketRecord::netns_inode, any_integer, "network namespace, as ls -i /proc/PID/ns/net shows it"},
      Column{"ifindex", &PacketRecord::ifindex, any_integer, ""},
      Column{"device", &PacketRecord::device, any_integer, "name of the receiving interface"},
      Column{"cpu", &PacketRecord::cpu, cpus_or_none, "that took it out of the queue"},
      Column{"rx_queue", &PacketRecord::rx_queue, cpus_or_none, "-1: none recorded"},
      Column{"enqueued_ns", &PacketRecord::enqueued_ns, nanoseconds, "netif_rx; 0: a hardware queue hides it"},
      Column{"received_ns", &PacketRecord::received_ns, nanoseconds, "netif_receive_skb: the stack begins with it"},
      Column{"served_by", &PacketRecord::served_by, any_integer, "in whose context"},
      Column{"pid", &PacketRecord::pid, process_ids, "of that context"},
      Column{"comm", &PacketRecord::comm, any_integer, ""},
      Column{"syscall_number", &PacketRecord::syscall_number, any_integer, "it was in; NULL: in none, or not known"}};
};

template <>
struct Table<WaitRecord> : TableDefaults {
  static constexpr std::string_view name = "wait";
  static constexpr std::string_view about = "An interval in which a CPU could not receive.";
  static constexpr std::string_view key = "id";
  static constexpr std::string_view constraint = "start_ns <= end_ns";
  static constexpr std::tuple columns{
      Column{"id", &WaitRecord::id, counts, ""},
      Column{"cpu", &WaitRecord::cpu, cpus_or_none, ""},
      Column{"mode", &WaitRecord::mode, any_integer, "why packets waited"},
      Column{"start_ns", &WaitRecord::start_ns, nanoseconds, "best estimate"},
      Column{"earliest_start_ns", &WaitRecord::earliest_start_ns, nanoseconds, "the true start is not before this"},
      Column{"latest_start_ns", &WaitRecord::latest_start_ns, nanoseconds, "and not after this"},
      Column{"end_ns", &WaitRecord::end_ns, nanoseconds, ""},
      Column{"vector", &WaitRecord::vector, softirq_vectors_or_none, "softirq that ran (include/linux/interrupt.h); -1: none"},
      Column{"packets_released", &WaitRecord::packets_released, counts_or_unknown, "delivered right after it; -1: not known"},
      Column{"stolen_ns", &WaitRecord::stolen_ns, nanoseconds_or_none, "of the wait, taken by the hypervisor; -1: not known"}};
};

template <>
struct Table<OccupantRow> : TableDefaults {
  static constexpr std::string_view name = "occupant";
  static constexpr std::string_view about = "Who had the CPU during a wait, longest first.";
  static constexpr std::string_view key = "wait_id, rank";
  static constexpr bool without_rowid = true;
  static constexpr std::tuple columns{
      Column{"wait_id", &OccupantRow::wait_id, counts, "wait.id"},
      Column{"rank", &OccupantRow::rank, counts, "0: held longest"},
      Column{"pid", &OccupantRow::pid, process_ids, "of the thread"},
      Column{"tgid", &OccupantRow::tgid, process_ids, "of the process"},
      Column{"comm", &OccupantRow::comm, any_integer, ""},
      Column{"kernel_thread", &OccupantRow::kernel_thread, any_integer, ""},
      Column{"cgroup", &OccupantRow::cgroup, any_integer, "path in the memory controller's hierarchy (v1) or the unified one"},
      Column{"syscall_number", &OccupantRow::syscall_number, any_integer, "NULL: in none, or not known"},
      Column{"syscall_argument_0", syscall_argument<0>, any_integer,
             "arguments: 64 bits, shown by SQLite as signed; -1 in each: not known"},
      Column{"syscall_argument_1", syscall_argument<1>, any_integer, ""},
      Column{"syscall_argument_2", syscall_argument<2>, any_integer, ""},
      Column{"syscall_argument_3", syscall_argument<3>, any_integer, ""},
      Column{"syscall_argument_4", syscall_argument<4>, any_integer, ""},
      Column{"syscall_argument_5", syscall_argument<5>, any_integer, ""},
      Column{"file", &OccupantRow::file, any_integer, "behind the descriptor in argument 0; empty: none or not known"},
      Column{"stack_id", &OccupantRow::stack_id, counts, "stack_frame.stack_id; 0: no stack"},
      Column{"held_ns", &OccupantRow::held_ns, nanoseconds, "its share of the wait"},
      Column{"sample_count", &OccupantRow::sample_count, counts, "CPU clock samples behind that; 0: seen at the end"}};
};

template <>
struct Table<StackFrameRow> : TableDefaults {
  static constexpr std::string_view name = "stack_frame";
  static constexpr std::string_view about = "Kernel stacks, each stored once.";
  static constexpr std::string_view key = "stack_id, position";
  static constexpr bool without_rowid = true;
  static constexpr std::tuple columns{Column{"stack_id", &StackFrameRow::stack_id, Range{1, largest_count}, ""},
                                      Column{"position", &StackFrameRow::position, counts, "0: innermost"},
                                      Column{"function", &StackFrameRow::function, any_integer, ""}};
};

template <>
struct Table<SampleRecord> : TableDefaults {
  static constexpr std::string_view name = "sample";
  static constexpr std::string_view about = "Consecutive samples during a wait that found the same task in the same place.";
  static constexpr std::string_view constraint = "first_ns <= last_ns";
  static constexpr std::tuple columns{
      Column{"wait_id", &SampleRecord::wait_id, counts, "wait.id"},
      Column{"first_ns", &SampleRecord::first_ns, nanoseconds, ""},
      Column{"last_ns", &SampleRecord::last_ns, nanoseconds, ""},
      Column{"sample_count", &SampleRecord::sample_count, counts, "of the CPU clock, 1 kHz; 0: seen from another CPU, a hint"},
      Column{"pid", &SampleRecord::pid, process_ids, "of the thread; 0: idle"},
      Column{"comm", &SampleRecord::comm, any_integer, ""},
      Column{"stack_id", &SampleRecord::stack_id, counts, "stack_frame.stack_id; 0: no stack"}};
};

template <>
struct Table<FlushRecord> : TableDefaults {
  static constexpr std::string_view name = "flush";
  static constexpr std::string_view about = "A stretch for which a task held the cgroup rstat lock with interrupts off.";
  static constexpr std::string_view constraint = "start_ns <= end_ns";
  static constexpr std::tuple columns{Column{"cpu", &FlushRecord::cpu, cpus_or_none, ""},
                                      Column{"start_ns", &FlushRecord::start_ns, nanoseconds, ""},
                                      Column{"end_ns", &FlushRecord::end_ns, nanoseconds, ""},
                                      Column{"pid", &FlushRecord::pid, process_ids, "of the thread"},
                                      Column{"tgid", &FlushRecord::tgid, process_ids, "of the process"},
                                      Column{"comm", &FlushRecord::comm, any_integer, ""},
                                      Column{"cgroup", &FlushRecord::cgroup, any_integer, "that was flushed"}};
};

template <>
struct Table<OnlyRow<MemcgCensusRecord>> : TableDefaults {
  using Row = OnlyRow<MemcgCensusRecord>;
  static constexpr std::string_view name = "memcg_census";
  static constexpr std::string_view about = "Memory cgroups at one moment: one row or none. NULL: not known.";
  static constexpr std::string_view key = "id";
  static constexpr Conflict conflict = Conflict::replace;
  static constexpr std::tuple columns{
      Column{"id", &Row::id, only_id, "always 1"},
      Column{"taken_ns", &Row::taken_ns, nanoseconds, ""},
      Column{"cgroup_version", &Row::cgroup_version, any_integer, "hierarchy of the memory controller: 1 or 2"},
      Column{"kernel_total", &Row::kernel_total, counts, "/proc/cgroups num_cgroups: live and dying"},
      Column{"kernel_dying", &Row::kernel_dying, counts, "cgroup.stat nr_dying_descendants (v2)"},
      Column{"visible", &Row::visible, counts, "directories, root included"},
      Column{"walked_live", &Row::walked_live, counts, "by walking the tree of css structures, root included"},
      Column{"walked_dying", &Row::walked_dying, counts, ""},
      Column{"walk_approximate", &Row::walk_approximate, any_integer, "1: the tree changed while it was walked"},
      Column{"walk_ns", &Row::walk_ns, nanoseconds, "how long the walk took"},
      Column{"walk_longest_section_ns", &Row::walk_longest_section_ns, nanoseconds, "longest stretch it kept the CPU"}};
};

template <>
struct Table<PinningFileRecord> : TableDefaults {
  static constexpr std::string_view name = "pinning_file";
  static constexpr std::string_view about = "A file whose page cache keeps dying memory cgroups in memory.";
  static constexpr std::tuple columns{
      Column{"path", &PinningFileRecord::path, any_integer, "inside its file system, as far as it is cached"},
      Column{"filesystem", &PinningFileRecord::filesystem, any_integer, ""},
      Column{"device", &PinningFileRecord::device, any_integer, ""},
      Column{"inode", &PinningFileRecord::inode, any_integer, "64 bits, shown by SQLite as signed"},
      Column{"memcg_count", &PinningFileRecord::memcg_count, counts, "dying memory cgroups whose first LRU page is of this file"},
      Column{"charged_bytes", &PinningFileRecord::charged_bytes, counts, "what all of those are charged"}};
};

template <>
struct Table<StatReadRecord> : TableDefaults {
  static constexpr std::string_view name = "stat_read";
  static constexpr std::string_view about = "What reading one cgroup's memory.stat cost, read several times in a row.";
  static constexpr std::tuple columns{Column{"path", &StatReadRecord::path, any_integer, "of the memory.stat file"},
                                      Column{"read_count", &StatReadRecord::read_count, counts, ""},
                                      Column{"median_ns", &StatReadRecord::median_ns, nanoseconds, ""},
                                      Column{"worst_ns", &StatReadRecord::worst_ns, nanoseconds, ""}};
};

template <>
struct Table<MemoryRecord> : TableDefaults {
  static constexpr std::string_view name = "memory";
  static constexpr std::string_view about = "/proc/meminfo.";
  static constexpr std::tuple columns{Column{"name", &MemoryRecord::name, any_integer, ""},
                                      Column{"bytes", &MemoryRecord::bytes, counts, ""}};
};

template <>
struct Table<SlabRecord> : TableDefaults {
  static constexpr std::string_view name = "slab";
  static constexpr std::string_view about = "/proc/slabinfo, where it was read.";
  static constexpr std::tuple columns{Column{"cache", &SlabRecord::cache, any_integer, ""},
                                      Column{"active_objects", &SlabRecord::active_objects, counts, ""},
                                      Column{"total_objects", &SlabRecord::total_objects, counts, ""},
                                      Column{"object_bytes", &SlabRecord::object_bytes, counts, "of one object"},
                                      Column{"total_bytes", &SlabRecord::total_bytes, counts, "of all"}};
};

template <>
struct Table<CounterRecord> : TableDefaults {
  static constexpr std::string_view name = "counter";
  static constexpr std::string_view about = "A counter of the kernel before and after the recording, by CPU.";
  static constexpr std::string_view key = "name, cpu";
  static constexpr bool without_rowid = true;
  static constexpr Conflict conflict = Conflict::replace;
  static constexpr std::tuple columns{
      Column{"name", &CounterRecord::name, any_integer, "softnet.dropped, softnet.time_squeeze, tcp.listen_overflows, steal (ns)"},
      Column{"cpu", &CounterRecord::cpu, cpus_or_none, "-1: of the network namespace that was watched"},
      Column{"before", &CounterRecord::before, nanoseconds, ""}, Column{"after", &CounterRecord::after, nanoseconds, ""}};
};

template <>
struct Table<SocketRecord> : TableDefaults {
  static constexpr std::string_view name = "socket";
  static constexpr std::string_view about =
      "A socket of the watched network namespace whose process was behind, before and after the recording.";
  static constexpr std::tuple columns{
      Column{"protocol", &SocketRecord::protocol, any_integer, "tcp, tcp6, udp, udp6"},
      Column{"local_address", &SocketRecord::local_address, any_integer, ""},
      Column{"listening", &SocketRecord::listening, any_integer, "1: accepts connections"},
      Column{"queued_before", &SocketRecord::queued_before, counts_or_unknown,
             "bytes not read, or connections not accepted; -1: it was not there"},
      Column{"queued_after", &SocketRecord::queued_after, counts_or_unknown, ""},
      Column{"drop_count", &SocketRecord::drop_count, counts_or_unknown, "packets for which it had no room; -1: not known"},
      Column{"inode", &SocketRecord::inode, any_integer, "64 bits, shown by SQLite as signed"},
      Column{"pid", &SocketRecord::pid, process_ids, "of one process that has it open; 0: not known"},
      Column{"comm", &SocketRecord::comm, any_integer, ""}};
};

template <>
struct Table<ThrottledCgroupRecord> : TableDefaults {
  using Row = ThrottledCgroupRecord;
  static constexpr std::string_view name = "throttled_cgroup";
  static constexpr std::string_view about =
      "A cgroup that used up its CPU quota meanwhile, and has a process with a socket in the watched network namespace.";
  static constexpr std::tuple columns{
      Column{"cgroup", &Row::cgroup, any_integer, "path in the CPU controller's hierarchy (v1) or the unified one"},
      Column{"quota_ns", &Row::quota_ns, nanoseconds, "CPU time per period, over all CPUs"},
      Column{"period_ns", &Row::period_ns, nanoseconds, ""},
      Column{"period_count", &Row::period_count, counts, "periods in which something in it ran"},
      Column{"throttled_count", &Row::throttled_count, counts, "of them, those in which it used up its quota"},
      Column{"throttled_ns", &Row::throttled_ns, nanoseconds, "how long it was throttled, summed over the CPUs"},
      Column{"process_count", &Row::process_count, counts, "with such a socket"},
      Column{"pid", &Row::pid, process_ids, "of one of them"},
      Column{"comm", &Row::comm, any_integer, ""},
      Column{"protocol", &Row::protocol, any_integer, "of its socket: tcp, tcp6, udp, udp6"},
      Column{"local_address", &Row::local_address, any_integer, ""}};
};

template <>
struct Table<BlockedTaskRecord> : TableDefaults {
  static constexpr std::string_view name = "blocked_task";
  static constexpr std::string_view about = "A thread in uninterruptible sleep that did not run while it was recorded.";
  static constexpr std::tuple columns{
      Column{"pid", &BlockedTaskRecord::pid, process_ids, "of the thread"},
      Column{"tgid", &BlockedTaskRecord::tgid, process_ids, "of its process"},
      Column{"comm", &BlockedTaskRecord::comm, any_integer, ""},
      Column{"waits_in", &BlockedTaskRecord::waits_in, any_integer, "function of the kernel; empty: not known"},
      Column{"blocked_ns", &BlockedTaskRecord::blocked_ns, nanoseconds, "at least"}};
};

template <>
struct Table<SettingRecord> : TableDefaults {
  static constexpr std::string_view name = "setting";
  static constexpr std::string_view about = "Settings of the kernel that a conclusion depends on.";
  static constexpr std::string_view key = "name";
  static constexpr bool without_rowid = true;
  static constexpr Conflict conflict = Conflict::replace;
  static constexpr std::tuple columns{Column{"name", &SettingRecord::name, any_integer, "as sysctl(8) has it"},
                                      Column{"value", &SettingRecord::value, any_integer, ""}};
};

template <>
struct Table<GapRecord> : TableDefaults {
  static constexpr std::string_view name = "gap";
  static constexpr std::string_view about = "What could not be observed. Its absence from this file means unknown, never no.";
  static constexpr std::tuple columns{Column{"what", &GapRecord::what, any_integer, ""},
                                      Column{"reason", &GapRecord::reason, any_integer, ""},
                                      Column{"consequence", &GapRecord::consequence, any_integer, "for the reader of a report"}};
};

template <>
struct Table<LossRecord> : TableDefaults {
  static constexpr std::string_view name = "loss";
  static constexpr std::string_view about = "Events that happened but are not in this file.";
  static constexpr std::string_view key = "place";
  static constexpr bool without_rowid = true;
  static constexpr Conflict conflict = Conflict::replace;
  static constexpr std::tuple columns{Column{"place", &LossRecord::where, any_integer, "where they were lost"},
                                      Column{"count", &LossRecord::count, counts, ""}};
};

/// Every CREATE statement of a bundle, tables before the views on them.
[[nodiscard]] const std::vector<std::string>& create_statements();

}  // namespace stallscope::evidence
