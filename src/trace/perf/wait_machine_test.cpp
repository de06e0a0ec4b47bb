// SPDX-License-Identifier: Apache-2.0
// Events of perf in, records of the bundle out: the machine together with the assembler that reads what it sends.
#include "trace/perf/wait_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/syscall.h>

#include <string>
#include <vector>

#include "trace/assembler.h"
#include "trace/test_sink.h"

namespace stallscope::trace::perf {
namespace {

using evidence::Occupant;
using evidence::WaitMode;
using evidence::WaitRecord;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::int64_t us = 1'000;
constexpr std::int64_t ms = 1'000'000;
constexpr std::int64_t begin_ns = 1'000'000'000;
constexpr std::int64_t timer_vector = 1;
constexpr std::int64_t net_rx_vector = 3;

class WaitMachineTest : public testing::Test {
 protected:
  Event event(EventKind kind, std::int64_t time_ns, std::int64_t value = 0, const std::string& comm = {}) const {
    Event result;
    result.kind = kind;
    result.cpu = cpu;
    result.time_ns = time_ns;
    result.tgid = running < 0 ? running : 100;
    result.tid = running;
    result.value = value;
    result.comm = comm;
    return result;
  }
  void feed(EventKind kind, std::int64_t time_ns, std::int64_t value = 0, const std::string& comm = {}) {
    machine.on_event(event(kind, time_ns, value, comm));
  }
  void sample(std::int64_t time_ns) {
    Event clock = event(EventKind::clock, time_ns);
    clock.in_user_space = in_user_space;
    for (const std::string& function : functions) {
      clock.stack.push_back(kernel.at(function));
    }
    machine.on_event(clock);
  }
  /// One sample per period, from `from_ns` until before `to_ns`.
  void samples(std::int64_t from_ns, std::int64_t to_ns) {
    for (std::int64_t at_ns = from_ns; at_ns < to_ns; at_ns += ms) {
      sample(at_ns);
    }
  }
  std::vector<WaitRecord> waits() {
    EXPECT_TRUE(assembler.finish());
    EXPECT_EQ(assembler.malformed_count(), 0);
    return sink.waits;
  }
  WaitRecord only_wait() {
    const std::vector<WaitRecord> found = waits();
    EXPECT_EQ(found.size(), 1U);
    return found.empty() ? WaitRecord{} : found.front();
  }

  std::uint32_t cpu = 0;
  std::int32_t running = 101;
  bool in_user_space = false;
  std::vector<std::string> functions;
  FakeKernel kernel;
  CollectingSink sink;
  WaitAssembler assembler{kernel.lookup(), sink};
  WaitMachine machine{{},
                      [this](const void* record, std::size_t size_bytes) { EXPECT_TRUE(assembler.on_record(record, size_bytes)); },
                      [](const Event& seen, trace_task& task) { ("task-" + std::to_string(seen.tid)).copy(task.comm, 15); }};
};

TEST_F(WaitMachineTest, DoesNotTakeAnExitingThreadForTheIdleTask) {
  samples(begin_ns, begin_ns + (5 * ms));
  running = -1;  // perf's word for a thread whose pid is gone
  functions = {"_raw_spin_unlock_irq", "wait_task_zombie", "do_exit"};
  sample(begin_ns + (24 * ms));
  running = 101;
  functions.clear();
  samples(begin_ns + (25 * ms), begin_ns + (30 * ms));

  const WaitRecord wait = only_wait();
  EXPECT_EQ(wait.mode, WaitMode::hard_irqs_off) << "and not the hypervisor's doing";
  ASSERT_EQ(wait.occupants.size(), 1U);
  EXPECT_EQ(wait.occupants.front().pid, 0) << "a bundle refuses another";
  EXPECT_EQ(wait.occupants.front().tgid, 0);
}

TEST_F(WaitMachineTest, TakesAGapBetweenSamplesForInterruptsOff) {
  samples(begin_ns, begin_ns + (5 * ms));
  functions = {"_raw_spin_unlock_irqrestore", "write_null", "vfs_write", "ksys_write", "do_syscall_64"};
  sample(begin_ns + (24 * ms));
  functions.clear();
  feed(EventKind::softirq_raise, begin_ns + (24 * ms) + (10 * us), net_rx_vector);
  feed(EventKind::softirq_entry, begin_ns + (24 * ms) + (20 * us), net_rx_vector);
  feed(EventKind::napi_poll, begin_ns + (24 * ms) + (30 * us), 7);
  feed(EventKind::softirq_exit, begin_ns + (24 * ms) + (40 * us), net_rx_vector);
  samples(begin_ns + (25 * ms), begin_ns + (30 * ms));

  const WaitRecord wait = only_wait();
  EXPECT_EQ(wait.mode, WaitMode::hard_irqs_off);
  EXPECT_EQ(wait.earliest_start_ns, begin_ns + (4 * ms)) << "the last sample before";
  EXPECT_EQ(wait.latest_start_ns, begin_ns + (5 * ms)) << "when the next one was due";
  EXPECT_EQ(wait.end_ns, begin_ns + (24 * ms));
  EXPECT_EQ(wait.packets_released, 7);
  EXPECT_EQ(wait.stolen_ns, -1) << "not known";
  ASSERT_EQ(wait.occupants.size(), 1U);
  const Occupant& occupant = wait.occupants.front();
  EXPECT_EQ(occupant.pid, 101);
  EXPECT_EQ(occupant.tgid, 100);
  EXPECT_EQ(occupant.comm, "task-101");
  EXPECT_EQ(occupant.syscall_number, SYS_write);
  EXPECT_FALSE(occupant.arguments_known());
  EXPECT_EQ(occupant.file, "");
  EXPECT_EQ(occupant.held_ns, wait.length_ns());
  EXPECT_THAT(sink.stacks,
              ElementsAre(ElementsAre("_raw_spin_unlock_irqrestore", "write_null", "vfs_write", "ksys_write", "do_syscall_64")));
}

TEST_F(WaitMachineTest, ExpectsNothingFromASampleThatIsLateByLessThanTheThreshold) {
  sample(begin_ns);
  sample(begin_ns + (2 * ms) - (10 * us));
  sample(begin_ns + (3 * ms));
  EXPECT_THAT(waits(), IsEmpty());
}

TEST_F(WaitMachineTest, KnowsThatUserSpaceAndTheIdleTaskCannotDisableInterrupts) {
  sample(begin_ns);
  in_user_space = true;
  sample(begin_ns + (10 * ms));
  in_user_space = false;
  running = 0;
  functions = {"pv_native_safe_halt", "default_idle", "do_idle"};
  sample(begin_ns + (20 * ms));
  const std::vector<WaitRecord> found = waits();
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].mode, WaitMode::vcpu_stolen);
  EXPECT_EQ(found[1].mode, WaitMode::vcpu_stolen);
}

TEST_F(WaitMachineTest, LooksUnderTheInterruptsThatNestedWhenTheyCameBack) {
  sample(begin_ns);
  functions = {"handle_softirqs",
               "asm_sysvec_call_function_single",
               "_raw_spin_unlock_irq",
               "css_rstat_flush",
               "vfs_read",
               "__x64_sys_pread64",
               "do_syscall_64"};
  sample(begin_ns + (50 * ms));
  const WaitRecord wait = only_wait();
  EXPECT_EQ(wait.mode, WaitMode::hard_irqs_off);
  EXPECT_EQ(wait.occupants.front().syscall_number, SYS_pread64);
  ASSERT_EQ(sink.stacks.size(), 1U);
  EXPECT_EQ(sink.stacks.front().front(), "_raw_spin_unlock_irq");
}

TEST_F(WaitMachineTest, DoesNotTakeAPauseOfTheClockForInterruptsOff) {
  sample(begin_ns);
  feed(EventKind::clock_paused, begin_ns + (1 * ms));
  feed(EventKind::clock_paused, begin_ns + (40 * ms));
  samples(begin_ns + (41 * ms), begin_ns + (44 * ms));
  EXPECT_THAT(waits(), IsEmpty());
}

TEST_F(WaitMachineTest, DoesNotTakeIdlingForInterruptsOff) {
  sample(begin_ns);
  feed(EventKind::thread_switch, begin_ns + (300 * ms) + (200 * us), 101, "bash");
  sample(begin_ns + (301 * ms));
  // Woken by a packet and idle again, without a switch in between.
  running = 0;
  feed(EventKind::softirq_entry, begin_ns + (600 * ms) + (300 * us), net_rx_vector);
  sample(begin_ns + (601 * ms));
  EXPECT_THAT(waits(), IsEmpty());
}

TEST_F(WaitMachineTest, SeesInterruptsOffThoughASoftirqCameBeforeTheTimer) {
  sample(begin_ns);
  feed(EventKind::softirq_entry, begin_ns + (50 * ms) - (10 * us), net_rx_vector);
  sample(begin_ns + (50 * ms));
  EXPECT_EQ(only_wait().mode, WaitMode::hard_irqs_off);
}

TEST_F(WaitMachineTest, NamesTheVectorThatHeldNetRxUp) {
  functions = {"spin", "call_timer_fn", "handle_softirqs", "irq_exit_rcu", "asm_sysvec_apic_timer_interrupt", "do_idle"};
  feed(EventKind::softirq_entry, begin_ns, timer_vector);
  feed(EventKind::softirq_raise, begin_ns + (100 * us), net_rx_vector);
  samples(begin_ns + (200 * us), begin_ns + (30 * ms));
  feed(EventKind::softirq_raise, begin_ns + (20 * ms), net_rx_vector);
  feed(EventKind::softirq_exit, begin_ns + (30 * ms), timer_vector);
  feed(EventKind::softirq_entry, begin_ns + (30 * ms) + (10 * us), net_rx_vector);
  feed(EventKind::softirq_exit, begin_ns + (30 * ms) + (50 * us), net_rx_vector);

  const WaitRecord wait = only_wait();
  EXPECT_EQ(wait.mode, WaitMode::softirq_vector);
  EXPECT_EQ(wait.vector, timer_vector);
  EXPECT_EQ(wait.start_ns, begin_ns + (100 * us)) << "the oldest raise";
  ASSERT_EQ(wait.occupants.size(), 1U);
  EXPECT_GT(wait.occupants.front().sample_count, 20);
}

TEST_F(WaitMachineTest, SplitsADelayedSoftirqAmongWhoWasSampledMeanwhile) {
  feed(EventKind::softirq_raise, begin_ns, net_rx_vector);
  samples(begin_ns + (1 * ms), begin_ns + (7 * ms));
  running = 102;
  samples(begin_ns + (7 * ms), begin_ns + (9 * ms));
  feed(EventKind::softirq_entry, begin_ns + (9 * ms), net_rx_vector);
  const WaitRecord wait = only_wait();
  EXPECT_EQ(wait.mode, WaitMode::softirq_delayed);
  ASSERT_EQ(wait.occupants.size(), 2U);
  EXPECT_EQ(wait.occupants[0].pid, 101);
  EXPECT_EQ(wait.occupants[0].sample_count, 6);
  EXPECT_EQ(wait.occupants[1].pid, 102);
  EXPECT_EQ(wait.occupants[1].sample_count, 2);
}

TEST_F(WaitMachineTest, TellsADelayOfKsoftirqd) {
  feed(EventKind::softirq_raise, begin_ns, net_rx_vector);
  feed(EventKind::thread_wakeup, begin_ns + (10 * us), 15, "ksoftirqd/0");
  samples(begin_ns + (1 * ms), begin_ns + (9 * ms));
  feed(EventKind::thread_switch, begin_ns + (9 * ms), 15, "ksoftirqd/0");
  feed(EventKind::softirq_entry, begin_ns + (9 * ms) + (5 * us), net_rx_vector);
  const WaitRecord wait = only_wait();
  EXPECT_EQ(wait.mode, WaitMode::ksoftirqd_delayed);
  ASSERT_EQ(wait.occupants.size(), 1U);
  EXPECT_EQ(wait.occupants.front().pid, 101) << "who had the CPU, not ksoftirqd";
}

TEST_F(WaitMachineTest, FollowsANapiThreadFromTheCpuThatWokeItToTheOneItRanOn) {
  cpu = 1;
  feed(EventKind::thread_wakeup, begin_ns, 77, "napi/eth0-8193");
  cpu = 0;
  feed(EventKind::thread_switch, begin_ns + (6 * ms), 77, "napi/eth0-8193");
  const WaitRecord wait = only_wait();
  EXPECT_EQ(wait.mode, WaitMode::napi_thread_delayed);
  EXPECT_EQ(wait.cpu, 0);
  EXPECT_EQ(wait.length_ns(), 6 * ms);
}

TEST_F(WaitMachineTest, ReportsALongNetRxRunAndRunsThatEndAtTheBudget) {
  feed(EventKind::softirq_entry, begin_ns, net_rx_vector);
  feed(EventKind::napi_poll, begin_ns + (1 * ms), 300);
  feed(EventKind::softirq_raise, begin_ns + (1 * ms), net_rx_vector);
  feed(EventKind::softirq_exit, begin_ns + (3 * ms), net_rx_vector);
  feed(EventKind::softirq_entry, begin_ns + (3 * ms) + (10 * us), net_rx_vector);
  feed(EventKind::napi_poll, begin_ns + (3 * ms) + (20 * us), 40);
  feed(EventKind::softirq_exit, begin_ns + (3 * ms) + (500 * us), net_rx_vector);
  const std::vector<WaitRecord> found = waits();
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].mode, WaitMode::net_rx_work);
  EXPECT_EQ(found[0].packets_released, 300);
  EXPECT_EQ(found[1].mode, WaitMode::napi_budget);
  EXPECT_EQ(found[1].packets_released, 340);
  EXPECT_EQ(found[1].start_ns, begin_ns);
}

TEST_F(WaitMachineTest, InventsNoWaitWhereEventsWereLost) {
  sample(begin_ns);
  feed(EventKind::softirq_raise, begin_ns + (100 * us), net_rx_vector);
  feed(EventKind::softirq_entry, begin_ns + (200 * us), timer_vector);
  feed(EventKind::thread_wakeup, begin_ns + (300 * us), 77, "napi/eth0-8193");
  feed(EventKind::lost, begin_ns + (50 * ms), 1000);
  sample(begin_ns + (51 * ms));
  feed(EventKind::softirq_entry, begin_ns + (51 * ms), net_rx_vector);
  feed(EventKind::thread_switch, begin_ns + (52 * ms), 77, "napi/eth0-8193");
  EXPECT_THAT(waits(), IsEmpty());
}

TEST_F(WaitMachineTest, DoesNotCallPacketsNoneWhereNothingCountsThem) {
  assembler.releases_are_not_seen();
  sample(begin_ns);
  sample(begin_ns + (10 * ms));
  EXPECT_EQ(only_wait().packets_released, -1);
}

}  // namespace
}  // namespace stallscope::trace::perf
