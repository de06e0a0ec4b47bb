// SPDX-License-Identifier: Apache-2.0
#include "diagnose/testing/scenarios.h"

#include <algorithm>

namespace stallscope::diagnose::testing {
namespace {

using evidence::Evidence;
using evidence::Occupant;
using evidence::PacketLeg;
using evidence::PacketRecord;
using evidence::ProbeRecord;
using evidence::WaitMode;
using evidence::WaitRecord;

constexpr std::int64_t interval_ns = 10 * ms;
// 2026-11-23T03:04:00Z
constexpr std::int64_t run_start_utc_ns = 1'795'403'040 * second;
constexpr std::int32_t net_rx_cpu = 0;
constexpr std::int32_t prober_cpu = 1;

/// A few microseconds that differ from probe to probe but not from run to run.
std::int64_t jitter_ns(std::int64_t sequence) {
  return (sequence * 7919 % 13) * us;
}

PacketRecord packet(const ProbeRecord& probe, PacketLeg leg, std::int32_t cpu, std::int64_t enqueued_ns, std::int64_t received_ns) {
  PacketRecord record;
  record.sequence = probe.sequence;
  record.leg = leg;
  record.netns_inode = 4026532200;
  record.ifindex = 2;
  record.device = "veth-node";
  record.cpu = cpu;
  record.enqueued_ns = enqueued_ns;
  record.received_ns = received_ns;
  record.served_by = evidence::ServedBy::task;
  return record;
}

Occupant occupant(std::int32_t pid, std::string comm, std::int64_t held_ns) {
  Occupant who;
  who.pid = pid;
  who.tgid = pid;
  who.comm = std::move(comm);
  who.held_ns = held_ns;
  return who;
}

void add_counters(Evidence& evidence) {
  for (std::int32_t cpu = 0; cpu < evidence.run.cpu_count; ++cpu) {
    evidence.counters.push_back({"softnet.dropped", cpu, 3, 3});
    evidence.counters.push_back({"softnet.time_squeeze", cpu, 17, 17});
    evidence.counters.push_back({"steal", cpu, 40 * ms, 40 * ms});
  }
}

}  // namespace

Evidence quiet_run(std::int64_t probe_count) {
  Evidence evidence;
  evidence.run.tool_version = "0.1.0";
  evidence.run.hostname = "node-1";
  evidence.run.kernel_release = "6.18.44";
  evidence.run.boot_id = "b7c1c2de-5b5e-4b43-9f0b-0c9e6f4f8a11";
  evidence.run.realtime_offset_ns = run_start_utc_ns - run_start_ns;
  evidence.run.start_ns = run_start_ns;
  evidence.run.end_ns = run_start_ns + (probe_count * interval_ns) + second;
  evidence.run.planned_duration_ns = probe_count * interval_ns;
  evidence.run.wait_threshold_ns = ms;
  evidence.run.cpu_count = 2;
  evidence.run.target = "10.0.1.2";
  evidence.run.target_address = "10.0.1.2";
  evidence.run.probe_interval_ns = interval_ns;
  evidence.run.target_is_local = true;
  evidence.run.traced = true;
  evidence.run.state = "finished";
  for (std::int64_t sequence = 0; sequence < probe_count; ++sequence) {
    ProbeRecord probe;
    probe.sequence = sequence;
    probe.intended_ns = run_start_ns + (sequence * interval_ns);
    probe.sent_ns = probe.intended_ns + 30 * us + jitter_ns(sequence);
    probe.received_ns = probe.sent_ns + 120 * us + jitter_ns(sequence * 3);
    probe.sender_cpu = prober_cpu;
    evidence.probes.push_back(probe);
  }
  add_counters(evidence);
  return evidence;
}

void hold_probes(Evidence& evidence, std::int32_t cpu, std::int64_t start_ns, std::int64_t end_ns, bool with_packets) {
  std::int64_t position = 0;
  for (ProbeRecord& probe : evidence.probes) {
    const std::int64_t enqueued_ns = probe.sent_ns + 20 * us;
    if (enqueued_ns < run_start_ns + start_ns || enqueued_ns >= run_start_ns + end_ns) {
      continue;
    }
    // The queue drains in a few microseconds a packet.
    const std::int64_t delivered_ns = run_start_ns + end_ns + 15 * us + position * 6 * us;
    probe.received_ns = delivered_ns + 60 * us;
    ++position;
    if (with_packets) {
      evidence.packets.push_back(packet(probe, PacketLeg::request, cpu, enqueued_ns, delivered_ns));
      evidence.packets.push_back(packet(probe, PacketLeg::reply, prober_cpu, delivered_ns + 30 * us, delivered_ns + 45 * us));
    }
  }
}

WaitRecord& add_wait(Evidence& evidence, std::int32_t cpu, WaitMode mode, std::int64_t start_ns, std::int64_t end_ns) {
  WaitRecord wait;
  wait.id = static_cast<std::int64_t>(evidence.waits.size()) + 1;
  wait.cpu = cpu;
  wait.mode = mode;
  wait.start_ns = run_start_ns + start_ns;
  wait.earliest_start_ns = wait.start_ns - 20 * us;
  wait.latest_start_ns = wait.start_ns + 20 * us;
  wait.end_ns = run_start_ns + end_ns;
  evidence.waits.push_back(wait);
  return evidence.waits.back();
}

void hold_by_reader(WaitRecord& wait) {
  Occupant reader = occupant(4121, "cadvisor", wait.length_ns());
  reader.tgid = 4121;
  reader.cgroup = "/kubepods/pod7f9c";
  reader.syscall_number = 0;
  reader.syscall_arguments[0] = 5;
  reader.file = "/sys/fs/cgroup/memory/kubepods/memory.stat";
  reader.stack_id = 1;
  wait.occupants.push_back(reader);
}

void add_stacks(Evidence& evidence) {
  evidence.stacks.push_back({1,
                             {"_raw_spin_unlock_irqrestore", "css_rstat_flush", "memcg1_stat_format", "seq_read_iter", "vfs_read",
                              "ksys_read", "__x64_sys_read", "do_syscall_64", "entry_SYSCALL_64_after_hwframe"}});
  evidence.stacks.push_back({2,
                             {"estimation_timer", "call_timer_fn", "run_timer_softirq", "handle_softirqs", "irq_exit_rcu",
                              "sysvec_apic_timer_interrupt", "asm_sysvec_apic_timer_interrupt"}});
  evidence.stacks.push_back({3,
                             {"_raw_spin_unlock_irq", "mlx_cmd_exec", "mlx_query_port", "dev_ioctl", "sock_ioctl",
                              "__x64_sys_ioctl", "do_syscall_64", "entry_SYSCALL_64_after_hwframe"}});
}

void add_zombies(Evidence& evidence, std::int64_t read_ns) {
  evidence::MemcgCensusRecord census;
  census.taken_ns = evidence.run.end_ns;
  census.cgroup_version = 1;
  census.kernel_total = 50'011;
  census.visible = 5;
  census.walked_live = 5;
  census.walked_dying = 50'006;
  evidence.memcg_census = census;
  evidence.pinning_files.push_back({"/dev/shm/pins", "tmpfs", 22, 2, 50'006, 50'006 * 4096});
  evidence.stat_reads.push_back({"/sys/fs/cgroup/memory/memory.stat", 5, read_ns, read_ns + 3 * us});
}

Evidence incident() {
  Evidence evidence = quiet_run();
  add_stacks(evidence);
  add_zombies(evidence, 27 * us);
  constexpr std::int64_t first_ns = 4'333 * ms;
  for (int stall = 0; stall < 3; ++stall) {
    const std::int64_t start_ns = first_ns + stall * 5 * second;
    const std::int64_t end_ns = start_ns + 98'700 * us;
    hold_probes(evidence, net_rx_cpu, start_ns, end_ns);
    WaitRecord& wait = add_wait(evidence, net_rx_cpu, WaitMode::hard_irqs_off, start_ns, end_ns);
    wait.packets_released = 10;
    hold_by_reader(wait);
    evidence.flushes.push_back({net_rx_cpu, wait.start_ns + ms, wait.end_ns - ms, 4121, 4121, "cadvisor", "/"});
  }
  add_wait(evidence, net_rx_cpu, WaitMode::softirq_vector, 12 * second, 12 * second + 1'300 * us).vector = 1;
  return evidence;
}

Evidence healthy_zombies() {
  Evidence evidence = quiet_run();
  add_zombies(evidence, 27 * us);
  add_wait(evidence, prober_cpu, WaitMode::hard_irqs_off, 3 * second, 3 * second + 1'200 * us);
  return evidence;
}

Evidence stall_without_wait() {
  Evidence evidence = quiet_run();
  hold_probes(evidence, net_rx_cpu, 4'333 * ms, 4'400 * ms, /*with_packets=*/false);
  return evidence;
}

Evidence own_lateness() {
  Evidence evidence = quiet_run();
  add_stacks(evidence);
  const auto send_late = [&](std::size_t first, std::size_t last, std::int64_t until_ns) {
    for (std::size_t index = first; index <= last; ++index) {
      evidence.probes[index].sent_ns = run_start_ns + until_ns;
      evidence.probes[index].received_ns = run_start_ns + until_ns + 130 * us;
    }
  };
  send_late(100, 102, 1'027 * ms);
  send_late(500, 503, 5'041 * ms);
  WaitRecord& wait = add_wait(evidence, prober_cpu, WaitMode::hard_irqs_off, 4'995 * ms, 5'041 * ms);
  Occupant who = occupant(812, "ethtool", wait.length_ns());
  who.cgroup = "/system.slice/collectd.service";
  who.syscall_number = 16;
  who.syscall_arguments[0] = 3;
  who.file = "socket:[8123]";
  who.stack_id = 3;
  wait.occupants.push_back(who);
  return evidence;
}

Evidence loss_only() {
  Evidence evidence = quiet_run();
  for (const std::size_t index : {200U, 201U, 900U, 1999U}) {
    evidence.probes[index].received_ns = ProbeRecord::not_received;
  }
  // The last one was sent too shortly before the end to be called lost.
  evidence.run.end_ns = evidence.probes.back().sent_ns + 300 * ms;
  return evidence;
}

Evidence two_causes() {
  Evidence evidence = quiet_run();
  add_stacks(evidence);
  hold_probes(evidence, net_rx_cpu, 4'333 * ms, 4'413 * ms);
  WaitRecord& irqs_off = add_wait(evidence, net_rx_cpu, WaitMode::hard_irqs_off, 4'333 * ms, 4'383 * ms);
  Occupant ethtool = occupant(812, "ethtool", irqs_off.length_ns());
  ethtool.syscall_number = 16;
  ethtool.syscall_arguments[0] = 3;
  ethtool.stack_id = 3;
  irqs_off.occupants.push_back(ethtool);
  WaitRecord& timer = add_wait(evidence, net_rx_cpu, WaitMode::softirq_vector, 4'383'500 * us, 4'413 * ms);
  timer.vector = 1;
  timer.packets_released = 12;
  Occupant ipvs = occupant(0, "swapper/0", timer.length_ns());
  ipvs.stack_id = 2;
  timer.occupants.push_back(ipvs);

  hold_probes(evidence, net_rx_cpu, 9'001 * ms, 9'025 * ms);
  add_wait(evidence, net_rx_cpu, WaitMode::vcpu_stolen, 9'001 * ms, 9'025 * ms);
  for (evidence::CounterRecord& counter : evidence.counters) {
    if (counter.name == "steal" && counter.cpu == net_rx_cpu) {
      counter.after += 24 * ms;
    }
  }
  return evidence;
}

Evidence passive() {
  Evidence evidence = quiet_run();
  evidence.probes.clear();
  evidence.run.target.clear();
  evidence.run.target_address.clear();
  evidence.run.probe_interval_ns = 0;
  add_stacks(evidence);
  WaitRecord& timer = add_wait(evidence, 0, WaitMode::softirq_vector, 2 * second, 2 * second + 210 * ms);
  timer.vector = 1;
  timer.packets_released = 1'204;
  Occupant ipvs = occupant(0, "swapper/0", 208 * ms);
  ipvs.stack_id = 2;
  timer.occupants.push_back(ipvs);
  WaitRecord& ksoftirqd = add_wait(evidence, 1, WaitMode::ksoftirqd_delayed, 6 * second, 6 * second + 12 * ms);
  Occupant busy = occupant(9931, "rt-loop", 9 * ms);
  busy.tgid = 9930;
  busy.cgroup =
      "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod5e1d8f2a_31c4_4b7e_9a55_0d6c7e8f9a01.slice/"
      "cri-containerd-0f3c1a5b7d9e2f4a6c8e0b1d3f5a7c9e1b3d5f7a9c1e3b5d7f9a1c3e5b7d9f1a.scope";
  ksoftirqd.occupants.push_back(busy);
  const std::int64_t busy_from_ns = ksoftirqd.start_ns + ms;
  evidence.samples.push_back({ksoftirqd.id, busy_from_ns, busy_from_ns + 8 * ms, 9, 9931, "rt-loop", 3});
  evidence.samples.push_back({ksoftirqd.id, busy_from_ns + 9 * ms, busy_from_ns + 9 * ms, 1, 0, "swapper/1", 0});
  add_wait(evidence, 0, WaitMode::hard_irqs_off, 8 * second, 8 * second + 30 * ms).packets_released = 0;
  add_wait(evidence, 1, WaitMode::hard_irqs_off, 9 * second, 9 * second + 3 * ms).packets_released = 5;
  return evidence;
}

Evidence remote() {
  Evidence evidence = quiet_run();
  evidence.run.target = "db-7.example";
  evidence.run.target_address = "192.0.2.7";
  evidence.run.target_is_local = false;
  for (ProbeRecord& probe : evidence.probes) {
    probe.received_ns += 20 * ms;
  }
  for (ProbeRecord& probe : evidence.probes) {
    if (probe.sequence >= 700 && probe.sequence < 708) {
      probe.received_ns = run_start_ns + 7'100 * ms + probe.sequence * us;
    }
  }
  evidence.gaps.push_back({"the target's kernel", "db-7.example is another host", "what held its packets is unknown"});
  return evidence;
}

Evidence lost_events() {
  Evidence evidence = incident();
  evidence.run.state = "recording";
  evidence.run.end_ns = run_start_ns + 16 * second;
  std::erase_if(evidence.probes, [&](const ProbeRecord& probe) { return probe.intended_ns > evidence.run.end_ns; });
  evidence.flushes.clear();
  evidence.packets.clear();
  evidence.counters.clear();
  evidence.waits.erase(evidence.waits.begin());
  evidence.losses.push_back({"ring buffer", 1'204});
  evidence.losses.push_back({"bundle", 0});
  evidence.gaps.push_back({"rstat flush sections", "this kernel has no tracepoint cgroup_rstat_locked",
                           "whether flushes and stalls coincide cannot be tested"});
  return evidence;
}

Evidence throttled_server() {
  Evidence evidence = quiet_run();
  evidence.throttled_cgroups.push_back(
      {"/kubepods/burstable/pod5e1d8f2a-31c4-4b7e-9a55-0d6c7e8f9a01/"
       "0f3c1a5b7d9e2f4a6c8e0b1d3f5a7c9e1b3d5f7a9c1e3b5d7f9a1c3e5b7d9f1a",
       20 * ms, 100 * ms, 180, 171, 171 * 78 * ms, 1, 8'120, "api-server", "tcp", "10.0.1.2:8080"});
  return evidence;
}

Evidence hostile_names() {
  Evidence evidence = incident();
  evidence.run.target = "a\x1b[2Jb";
  for (WaitRecord& wait : evidence.waits) {
    for (Occupant& who : wait.occupants) {
      who.comm = "ev\x1b]0;il\x07\xff";
      who.file = "/sys/fs/cgroup/memory/\xe6\x97\xa5\xe6\x9c\xac" + std::string(120, 'x') + "\n#9 fake/memory.stat";
      who.cgroup = "/" + std::string(300, 'g') + "\xe2\x80\xae";
    }
  }
  evidence.throttled_cgroups.push_back(
      {"/\x1b]0;il\x07" + std::string(200, 'c'), 20 * ms, 100 * ms, 9, 9, 720 * ms, 1, 7, "ev\x1b[2Jil", "udp", "10.0.1.2:53"});
  evidence.gaps.push_back({"line\nbreak", "\xc3", std::string(200, 'w')});
  return evidence;
}

}  // namespace stallscope::diagnose::testing
