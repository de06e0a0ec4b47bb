// SPDX-License-Identifier: Apache-2.0
#include "trace/assembler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "trace/test_sink.h"

namespace stallscope::trace {
namespace {

using evidence::WaitMode;
using testing::ElementsAre;

constexpr std::int64_t ms = 1'000'000;

class AssemblerTest : public testing::Test {
 protected:
  trace_task task(std::int32_t pid, const std::string& comm, const std::vector<std::string>& functions) {
    trace_task result{};
    result.pid = pid;
    result.tgid = pid;
    result.flags = TRACE_TASK_HAS_REGISTERS;
    comm.copy(result.comm, sizeof(result.comm) - 1);
    for (std::size_t i = 0; i < functions.size(); ++i) {
      result.stack[i] = kernel.at(functions[i]);
    }
    result.stack_bytes = static_cast<std::int32_t>(functions.size() * sizeof(std::uint64_t));
    return result;
  }

  static void set_path(char (&field)[TRACE_PATH_BYTES], __u32& size_bytes, const std::vector<std::string>& innermost_first) {
    std::string names;
    for (const std::string& name : innermost_first) {
      names += name + '\0';
    }
    names.copy(field, sizeof(field));
    size_bytes = static_cast<__u32>(names.size());
  }

  static trace_wait wait(trace_kind kind, std::int64_t start_ns, std::int64_t end_ns, const trace_task& culprit) {
    trace_wait result{};
    result.kind = kind;
    result.number = 1;
    result.earliest_start_ns = static_cast<__u64>(start_ns);
    result.latest_start_ns = static_cast<__u64>(start_ns);
    result.end_ns = static_cast<__u64>(end_ns);
    result.vector = -1;
    result.task = culprit;
    return result;
  }

  template <typename T>
  void feed(const T& record) {
    ASSERT_TRUE(assembler.on_record(&record, sizeof(record)));
  }
  /// Of "cadvisor", while interrupts were off.
  void feed_sample(std::int64_t time_ns, bool from_nmi, const std::vector<std::string>& functions) {
    trace_sample taken{};
    taken.kind = TRACE_SAMPLE;
    taken.time_ns = static_cast<__u64>(time_ns);
    taken.preempt_count = -1;
    taken.from_nmi = from_nmi ? 1 : 0;
    taken.task = task(4121, "cadvisor", functions);
    feed(taken);
  }
  void feed_steal(std::int64_t stolen_ns) {
    trace_steal steal{};
    steal.kind = TRACE_STEAL;
    steal.number = 1;
    steal.stolen_ns = static_cast<__u64>(stolen_ns);
    feed(steal);
  }
  evidence::WaitRecord only_wait() {
    EXPECT_TRUE(assembler.finish());
    EXPECT_EQ(sink.waits.size(), 1U);
    return sink.waits.empty() ? evidence::WaitRecord{} : sink.waits.front();
  }

  FakeKernel kernel;
  CollectingSink sink;
  WaitAssembler assembler{kernel.lookup(), sink};
};

const std::vector<std::string> reading_stack = {"bpf_prog_on_hrtimer_expire [bpf]",
                                                "__hrtimer_run_queues",
                                                "asm_sysvec_apic_timer_interrupt",
                                                "handle_softirqs",
                                                "asm_sysvec_call_function_single",
                                                "_raw_spin_unlock_irq",
                                                "css_rstat_flush",
                                                "vfs_read",
                                                "do_syscall_64"};

TEST_F(AssemblerTest, KeepsWhatAnotherCpuSawWhileInterruptsWereOff) {
  const auto glimpse = [&](std::int64_t time_ns, const std::vector<std::string>& outermost_first) {
    trace_glimpse seen{};
    seen.kind = TRACE_GLIMPSE;
    seen.time_ns = static_cast<__u64>(time_ns);
    seen.pid = 4121;
    std::string("cadvisor").copy(seen.comm, sizeof(seen.comm));
    for (const std::string& function : outermost_first) {
      // What no function is known for lies between.
      seen.addresses[seen.address_count++] = kernel.at(function);
      seen.addresses[seen.address_count++] = 7;
    }
    feed(seen);
  };
  glimpse(900 * ms, {"do_syscall_64", "ksys_read"});
  glimpse(1020 * ms, {"do_syscall_64", "ksys_read", "css_rstat_flush"});
  glimpse(1500 * ms, {"do_syscall_64", "ksys_read"});
  feed(wait(TRACE_IRQS_OFF, 1000 * ms, 1100 * ms, task(4121, "cadvisor", reading_stack)));

  const evidence::WaitRecord record = only_wait();
  ASSERT_EQ(sink.samples.size(), 1U) << "one of before belongs to no wait, one of later to another";
  EXPECT_EQ(sink.samples.front().wait_id, record.id);
  EXPECT_EQ(sink.samples.front().first_ns, 1020 * ms);
  EXPECT_EQ(sink.samples.front().sample_count, 0) << "a hint";
  EXPECT_EQ(sink.samples.front().comm, "cadvisor");
  EXPECT_THAT(sink.stacks.at(static_cast<std::size_t>(sink.samples.front().stack_id) - 1),
              ElementsAre("css_rstat_flush", "ksys_read", "do_syscall_64"));
  EXPECT_EQ(record.occupants.front().sample_count, 0) << "who held it is known by the end of the wait";
}

TEST_F(AssemblerTest, ShowsAWholeStackWhereTheUnwinderLostItsWayInTheMiddleOne) {
  feed(wait(TRACE_IRQS_OFF, 1000 * ms, 1100 * ms, task(4121, "cadvisor", reading_stack)));
  feed_sample(1020 * ms, true, {"css_rstat_flush", "ksys_read", "do_syscall_64"});
  feed_sample(1040 * ms, true, {"__pi___x86_indirect_thunk_rax"});
  feed_sample(1060 * ms, true, {"mem_cgroup_css_rstat_flush", "css_rstat_flush", "ksys_read", "do_syscall_64"});

  const evidence::WaitRecord record = only_wait();
  ASSERT_EQ(record.occupants.size(), 1U);
  EXPECT_EQ(record.occupants.front().sample_count, 3) << "it is a sample of the thread all the same";
  EXPECT_EQ(record.occupants.front().held_ns, 100 * ms);
  EXPECT_EQ(sink.stacks.at(static_cast<std::size_t>(record.occupants.front().stack_id) - 1).back(), "do_syscall_64");
}

TEST_F(AssemblerTest, PrefersWhatTheHardwareSampledWhileInterruptsWereOff) {
  feed(wait(TRACE_IRQS_OFF, 1000 * ms, 1100 * ms, task(4121, "cadvisor", reading_stack)));
  feed_sample(1000 * ms, false, {"vfs_read", "ksys_read", "do_syscall_64"});  // by the clock, at the edge: of before
  feed_sample(1030 * ms, true, {"mem_cgroup_css_rstat_flush", "ksys_read", "do_syscall_64"});
  feed_sample(1060 * ms, true, {"mem_cgroup_css_rstat_flush", "ksys_read", "do_syscall_64"});

  const evidence::WaitRecord record = only_wait();
  ASSERT_EQ(record.occupants.size(), 1U);
  EXPECT_EQ(record.occupants.front().sample_count, 2);
  EXPECT_EQ(record.occupants.front().held_ns, 100 * ms);
  EXPECT_EQ(sink.stacks.at(static_cast<std::size_t>(record.occupants.front().stack_id) - 1).front(), "mem_cgroup_css_rstat_flush");
}

TEST_F(AssemblerTest, NamesSystemCallFileAndTheCodeUnderNestedInterrupts) {
  trace_task reader = task(4121, "cadvisor", reading_stack);
  reader.syscall_number = 0;
  reader.syscall_arguments[0] = 5;
  set_path(reader.file, reader.file_bytes, {"memory.stat", "kubepods", "memory", "cgroup", "fs", "sys"});
  set_path(reader.cgroup, reader.cgroup_bytes, {"pod7f9c", "kubepods"});
  trace_wait stall = wait(TRACE_IRQS_OFF, 1000 * ms, 1100 * ms, reader);
  stall.latest_start_ns += 2 * ms;
  feed(stall);

  const evidence::WaitRecord record = only_wait();
  EXPECT_EQ(record.mode, WaitMode::hard_irqs_off);
  EXPECT_EQ(record.start_ns, 1001 * ms) << "the middle of what is known";
  ASSERT_EQ(record.occupants.size(), 1U);
  const evidence::Occupant& occupant = record.occupants.front();
  EXPECT_EQ(occupant.syscall_number, 0);
  EXPECT_EQ(occupant.syscall_arguments[0], 5U);
  EXPECT_EQ(occupant.file, "/sys/fs/cgroup/memory/kubepods/memory.stat");
  EXPECT_EQ(occupant.cgroup, "/kubepods/pod7f9c");
  EXPECT_EQ(occupant.held_ns, 99 * ms);
  EXPECT_THAT(sink.stacks.at(0), ElementsAre("_raw_spin_unlock_irq", "css_rstat_flush", "vfs_read", "do_syscall_64"));
}

TEST_F(AssemblerTest, ARegisterThatIsNoDescriptorNamesNoFile) {
  trace_task task_in_futex = task(7, "app", reading_stack);
  task_in_futex.syscall_number = 202;  // futex: its first argument is an address
  set_path(task_in_futex.file, task_in_futex.file_bytes, {"null", "dev"});
  feed(wait(TRACE_IRQS_OFF, 0, 10 * ms, task_in_futex));
  EXPECT_EQ(only_wait().occupants.at(0).file, "");
}

TEST_F(AssemblerTest, UserSpaceAndTheIdleLoopCannotDisableInterrupts) {
  feed(wait(TRACE_IRQS_OFF, 0, 10 * ms, task(7, "app", {"__hrtimer_run_queues", "asm_sysvec_apic_timer_interrupt"})));
  feed(wait(TRACE_IRQS_OFF, 20 * ms, 30 * ms, task(0, "swapper/0", {"asm_sysvec_apic_timer_interrupt", "default_idle"})));
  ASSERT_TRUE(assembler.finish());
  ASSERT_EQ(sink.waits.size(), 2U);
  EXPECT_EQ(sink.waits[0].mode, WaitMode::vcpu_stolen);
  EXPECT_FALSE(sink.waits[0].occupants.at(0).syscall_number) << "user space is in no system call";
  EXPECT_EQ(sink.waits[1].mode, WaitMode::vcpu_stolen);
}

TEST_F(AssemblerTest, TheIdleLoopAndUserSpaceLeaveNoSoftirqUnserved) {
  const auto sample_at = [&](std::int64_t time_ns) {
    trace_sample sample{};
    sample.kind = TRACE_SAMPLE;
    sample.time_ns = static_cast<__u64>(time_ns);
    sample.preempt_count = -1;
    sample.task = task(8, "app", {"call_timer_fn", "handle_softirqs"});
    feed(sample);
  };
  const trace_task idle = task(0, "swapper/0", {"handle_softirqs", "asm_sysvec_apic_timer_interrupt", "default_idle"});
  feed(wait(TRACE_SOFTIRQ_LATE, 0, 20 * ms, idle));
  feed(wait(TRACE_SOFTIRQ_LATE, 100 * ms, 120 * ms, task(7, "app", {"handle_softirqs", "asm_sysvec_apic_timer_interrupt"})));
  sample_at(210 * ms);
  feed(wait(TRACE_SOFTIRQ_LATE, 200 * ms, 220 * ms, idle));
  ASSERT_TRUE(assembler.finish());
  ASSERT_EQ(sink.waits.size(), 3U);
  EXPECT_EQ(sink.waits[0].mode, WaitMode::vcpu_stolen);
  EXPECT_EQ(sink.waits[1].mode, WaitMode::vcpu_stolen);
  EXPECT_EQ(sink.waits[2].mode, WaitMode::softirq_delayed) << "somebody was seen at work";
  EXPECT_EQ(sink.waits[2].occupants.at(0).comm, "app");
}

TEST_F(AssemblerTest, StealTimeTellsTheHypervisorFromTheKernel) {
  feed(wait(TRACE_IRQS_OFF, 0, 100 * ms, task(7, "app", reading_stack)));
  feed_steal(49 * ms);
  feed(wait(TRACE_IRQS_OFF, 200 * ms, 300 * ms, task(7, "app", reading_stack)));
  ASSERT_TRUE(assembler.finish());
  EXPECT_EQ(sink.waits.at(0).mode, WaitMode::hard_irqs_off);
  EXPECT_EQ(sink.waits.at(0).stolen_ns, 49 * ms);
  EXPECT_EQ(sink.waits.at(1).stolen_ns, -1) << "not known is not zero";

  feed(wait(TRACE_IRQS_OFF, 400 * ms, 500 * ms, task(7, "app", reading_stack)));
  feed_steal(90 * ms);
  ASSERT_TRUE(assembler.finish());
  EXPECT_EQ(sink.waits.at(2).mode, WaitMode::vcpu_stolen);
}

TEST_F(AssemblerTest, SamplesInsideTheWaitShareItAmongOccupants) {
  const auto sample_at = [&](std::int64_t time_ns, std::int32_t pid) {
    trace_sample sample{};
    sample.kind = TRACE_SAMPLE;
    sample.time_ns = static_cast<__u64>(time_ns);
    sample.task = task(pid, "task" + std::to_string(pid), {"call_timer_fn", "handle_softirqs"});
    feed(sample);
  };
  sample_at(5 * ms, 99);  // before the wait
  for (int i = 0; i < 6; ++i) {
    sample_at((10 + i) * ms, 1);
  }
  sample_at(16 * ms, 2);
  sample_at(17 * ms, 2);
  trace_wait late = wait(TRACE_SOFTIRQ_LATE, 10 * ms, 18 * ms, task(3, "seen_at_end", {}));
  late.vector = 1;
  late.vector_ns = 7 * ms;
  feed(late);

  const evidence::WaitRecord record = only_wait();
  EXPECT_EQ(record.mode, WaitMode::softirq_vector);
  EXPECT_EQ(record.vector, 1);
  ASSERT_EQ(record.occupants.size(), 2U);
  EXPECT_EQ(record.occupants[0].pid, 1);
  EXPECT_EQ(record.occupants[0].held_ns, 6 * ms);
  EXPECT_EQ(record.occupants[1].held_ns, 2 * ms);
  ASSERT_EQ(sink.samples.size(), 2U);
  EXPECT_EQ(sink.samples[0], (evidence::SampleRecord{record.id, 10 * ms, 15 * ms, 6, 1, "task1", record.occupants[0].stack_id}));
  EXPECT_EQ(sink.samples[1].pid, 2);
  EXPECT_EQ(sink.samples[1].sample_count, 2);
  EXPECT_EQ(record.occupants[0].sample_count, 6);
}

TEST_F(AssemblerTest, ASampleMayBeginInABpfProgramOfSomebodyElse) {
  trace_sample sample{};
  sample.kind = TRACE_SAMPLE;
  sample.time_ns = static_cast<__u64>(12 * ms);
  sample.task = task(1, "innocent", {"bpf_prog_c641c24cb32d18ac_balancer [bpf]", "veth_xdp_rcv_skb", "net_rx_action"});
  feed(sample);
  feed(wait(TRACE_NET_RX_LONG, 10 * ms, 18 * ms, task(1, "innocent", {})));
  static_cast<void>(only_wait());
  EXPECT_THAT(sink.stacks.at(0), ElementsAre("bpf_prog_c641c24cb32d18ac_balancer [bpf]", "veth_xdp_rcv_skb", "net_rx_action"));
}

TEST_F(AssemblerTest, KsoftirqdsOwnDelayExplainsTheSoftirqThatFollows) {
  trace_wait delay = wait(TRACE_THREAD_LATE, 10 * ms, 60 * ms, task(42, "hog", {"schedule"}));
  delay.vector = 1;
  feed(delay);
  feed(wait(TRACE_SOFTIRQ_LATE, 9 * ms, 61 * ms, task(15, "ksoftirqd/0", {})));
  const evidence::WaitRecord record = only_wait();
  EXPECT_EQ(record.mode, WaitMode::ksoftirqd_delayed);
  EXPECT_EQ(record.occupants.at(0).comm, "hog") << "who kept it waiting, not who served it at last";
}

TEST_F(AssemblerTest, ReleaseIsJoinedAndItsAbsenceMeansNobodyWaited) {
  feed(wait(TRACE_IRQS_OFF, 0, 100 * ms, task(7, "app", reading_stack)));
  trace_release release{};
  release.kind = TRACE_RELEASE;
  release.number = 1;
  release.packet_count = 10;
  feed(release);
  trace_wait second = wait(TRACE_IRQS_OFF, 200 * ms, 300 * ms, task(7, "app", reading_stack));
  second.number = 2;
  feed(second);
  ASSERT_TRUE(assembler.finish());
  EXPECT_EQ(sink.waits.at(0).packets_released, 10);
  EXPECT_EQ(sink.waits.at(1).packets_released, 0);
}

TEST_F(AssemblerTest, WaitsForWhatFollowsButNotForever) {
  feed(wait(TRACE_IRQS_OFF, 0, 100 * ms, task(7, "app", reading_stack)));
  ASSERT_TRUE(assembler.settle(200 * ms));
  EXPECT_TRUE(sink.waits.empty());
  ASSERT_TRUE(assembler.settle((100 * ms) + WaitAssembler::settle_ns));
  EXPECT_EQ(sink.waits.size(), 1U);
}

TEST_F(AssemblerTest, TheFirstSequenceIsTakenAsItIs) {
  trace_packet packet{};
  packet.kind = TRACE_PACKET;
  packet.sequence = 40'000;
  feed(packet);
  ASSERT_EQ(sink.packets.size(), 1U);
  EXPECT_EQ(sink.packets.front().sequence, 40'000);
}

TEST_F(AssemblerTest, SequencesAreUnwrappedAcrossSixteenBits) {
  const auto packet_with = [&](std::uint16_t sequence) {
    trace_packet packet{};
    packet.kind = TRACE_PACKET;
    packet.sequence = sequence;
    packet.pid = 12;
    std::strcpy(packet.comm, "ksoftirqd/1");
    feed(packet);
  };
  for (int sequence = 0; sequence <= 65535; sequence += 1000) {
    packet_with(static_cast<std::uint16_t>(sequence));
  }
  packet_with(65535);
  packet_with(0);
  packet_with(65534);  // late
  packet_with(1);
  std::vector<std::int64_t> last;
  for (std::size_t i = sink.packets.size() - 4; i < sink.packets.size(); ++i) {
    last.push_back(sink.packets[i].sequence);
  }
  EXPECT_THAT(last, ElementsAre(65535, 65536, 65534, 65537));
  EXPECT_EQ(sink.packets.back().served_by, evidence::ServedBy::ksoftirqd);
}

TEST_F(AssemblerTest, APacketServedInASystemCallNamesIt) {
  const auto packet_in = [&](const char* comm, std::int32_t syscall_number) {
    trace_packet packet{};
    packet.kind = TRACE_PACKET;
    packet.pid = 12;
    packet.syscall_number = syscall_number;
    std::strcpy(packet.comm, comm);
    feed(packet);
    return sink.packets.back().syscall_number;
  };
  EXPECT_EQ(packet_in("app", 44), 44);
  EXPECT_EQ(packet_in("app", -1), std::nullopt);
  EXPECT_EQ(packet_in("app", 1 << 20), std::nullopt);
  EXPECT_EQ(packet_in("ksoftirqd/1", 44), std::nullopt);
}

TEST_F(AssemblerTest, MalformedRecordsAreCounted) {
  trace_wait cut = wait(TRACE_IRQS_OFF, 0, ms, task(7, "app", {}));
  ASSERT_TRUE(assembler.on_record(&cut, sizeof(cut) - 1));
  const std::uint32_t unknown_kind = 99;
  ASSERT_TRUE(assembler.on_record(&unknown_kind, sizeof(unknown_kind)));
  ASSERT_TRUE(assembler.on_record(&unknown_kind, 1));
  EXPECT_EQ(assembler.malformed_count(), 3);
}

TEST_F(AssemblerTest, APathCutOffOrLyingAboutItsLengthIsStillAPath) {
  trace_task reader = task(7, "app", reading_stack);
  reader.syscall_number = 0;
  reader.cgroup_bytes = 0xffffffff;
  reader.file_bytes = 3;
  std::memcpy(reader.file, "abc", 3);  // no terminator
  feed(wait(TRACE_IRQS_OFF, 0, ms, reader));
  EXPECT_EQ(only_wait().occupants.at(0).file, "/ab");
}

TEST_F(AssemblerTest, AFailingSinkEndsTheWriting) {
  sink.fail = true;
  feed(wait(TRACE_IRQS_OFF, 0, ms, task(7, "app", {})));
  EXPECT_FALSE(assembler.finish());
}

TEST_F(AssemblerTest, ThePreemptCountTellsBottomHalvesOffFromServingASoftirq) {
  const auto sample_at = [&](std::int64_t time_ns, std::int32_t preempt_count) {
    trace_sample sample{};
    sample.kind = TRACE_SAMPLE;
    sample.time_ns = static_cast<__u64>(time_ns);
    sample.preempt_count = preempt_count;
    sample.task = task(7, "sender", {"cls_bpf_classify", "__dev_queue_xmit"});
    feed(sample);
  };
  constexpr std::int32_t in_interrupt = 0x10000;
  constexpr std::int32_t one_local_bh_disable = 0x200;
  constexpr std::int32_t serving = 0x100;
  const auto mode_of = [&](std::int64_t start_ns, std::initializer_list<std::int32_t> counts) {
    std::int64_t time_ns = start_ns;
    for (const std::int32_t count : counts) {
      sample_at(time_ns += ms, count);
    }
    feed(wait(TRACE_SOFTIRQ_LATE, start_ns, time_ns + ms, task(7, "sender", {})));
    EXPECT_TRUE(assembler.finish());
    return sink.waits.back().mode;
  };
  EXPECT_EQ(mode_of(0, {in_interrupt | one_local_bh_disable, in_interrupt | one_local_bh_disable, in_interrupt}), WaitMode::bh_off);
  EXPECT_EQ(mode_of(100 * ms, {in_interrupt, in_interrupt, in_interrupt | one_local_bh_disable}), WaitMode::softirq_delayed);
  EXPECT_EQ(mode_of(200 * ms, {in_interrupt | serving | one_local_bh_disable}), WaitMode::softirq_delayed)
      << "a softirq that takes spin_lock_bh";
  EXPECT_EQ(mode_of(300 * ms, {-1, -1}), WaitMode::softirq_delayed) << "this kernel's preempt count is not known";
}

TEST_F(AssemblerTest, RunsToTheEndOfTheBudgetAreOneWaitOfManyPackets) {
  trace_wait squeeze = wait(TRACE_BUDGET, 0, 40 * ms, task(15, "ksoftirqd/0", {"process_backlog", "net_rx_action"}));
  feed(squeeze);
  trace_release release{};
  release.kind = TRACE_RELEASE;
  release.number = 1;
  release.packet_count = 21'000;
  feed(release);
  const evidence::WaitRecord record = only_wait();
  EXPECT_EQ(record.mode, WaitMode::napi_budget);
  EXPECT_EQ(record.packets_released, 21'000);
  EXPECT_EQ(record.occupants.at(0).comm, "ksoftirqd/0");
}

}  // namespace
}  // namespace stallscope::trace
