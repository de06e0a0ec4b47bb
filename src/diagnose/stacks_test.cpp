// SPDX-License-Identifier: Apache-2.0
#include "diagnose/stacks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stallscope::diagnose {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(FunctionName, drops_offsets_modules_and_compiler_suffixes) {
  EXPECT_EQ(function_name("css_rstat_flush.isra.0+0x1c/0x80 [memcg]"), "css_rstat_flush");
  EXPECT_EQ(function_name("vfs_read"), "vfs_read");
}

TEST(TellingFunctions, leave_out_how_a_guest_lets_interrupts_in) {
  const std::vector<std::string> frames = {
      "pvm_irq_enable", "__raw_callee_save_pvm_irq_enable", "_raw_spin_unlock_irq", "process_one_work", "worker_thread", "kthread"};
  EXPECT_THAT(telling_functions(frames), ElementsAre("worker_thread", "process_one_work"));
  EXPECT_EQ(working_function(frames), "process_one_work");
}

TEST(TellingFunctions, leave_out_entry_interrupt_and_unlock) {
  const std::vector<std::string> frames = {"bpf_prog_3a1b_on_timer",
                                           "bpf_trace_run1",
                                           "__hrtimer_run_queues",
                                           "hrtimer_interrupt",
                                           "sysvec_apic_timer_interrupt",
                                           "asm_sysvec_apic_timer_interrupt",
                                           "_raw_spin_unlock_irqrestore+0x11",
                                           "css_rstat_flush+0x90",
                                           "vfs_read",
                                           "__x64_sys_read",
                                           "do_syscall_64",
                                           "entry_SYSCALL_64_after_hwframe"};
  EXPECT_THAT(telling_functions(frames), ElementsAre("vfs_read", "css_rstat_flush"));
  EXPECT_EQ(working_function(frames), "css_rstat_flush");
}

TEST(TellingFunctions, keep_programs_that_are_the_work) {
  const std::vector<std::string> frames = {"bpf_prog_c641c24cb32d18ac_balancer [bpf]", "veth_xdp_rcv_skb", "veth_poll",
                                           "__napi_poll"};
  EXPECT_THAT(telling_functions(frames),
              ElementsAre("__napi_poll", "veth_poll", "veth_xdp_rcv_skb", "bpf_prog_c641c24cb32d18ac_balancer"));
}

TEST(TellingFunctions, keep_softirqs_that_ran_at_the_end_of_an_interrupt) {
  const std::vector<std::string> frames = {
      "hrtimer_run_softirq", "handle_softirqs", "irq_exit_rcu", "sysvec_apic_timer_interrupt", "asm_sysvec_apic_timer_interrupt",
      "cpuidle_enter"};
  EXPECT_THAT(telling_functions(frames),
              ElementsAre("cpuidle_enter", "asm_sysvec_apic_timer_interrupt", "sysvec_apic_timer_interrupt", "irq_exit_rcu",
                          "handle_softirqs", "hrtimer_run_softirq"));
}

TEST(TellingFunctions, keep_a_device_interrupt_whose_handler_is_the_culprit) {
  const std::vector<std::string> frames = {"megasas_isr", "handle_irq_event", "common_interrupt", "asm_common_interrupt",
                                           "cpuidle_enter"};
  EXPECT_EQ(working_function(frames), "megasas_isr");
}

TEST(WorkingFunction, names_whose_lock_it_is) {
  EXPECT_EQ(working_function({"native_queued_spin_lock_slowpath", "_raw_spin_lock_irq", "mem_cgroup_flush"}), "mem_cgroup_flush");
  EXPECT_EQ(working_function({"read_tsc", "ktime_get_mono_fast_ns", "delay_loop", "do_syscall_64"}), "delay_loop");
  EXPECT_THAT(working_function({"_raw_spin_lock_irq"}), IsEmpty());
  EXPECT_THAT(working_function({}), IsEmpty());
}

TEST(StackTable, finds_by_id_and_knows_no_stack_zero) {
  evidence::Evidence evidence;
  evidence.stacks = {{0, {"zero"}}, {7, {"seven"}}};
  const StackTable table(evidence);
  ASSERT_NE(table.frames(7), nullptr);
  EXPECT_THAT(*table.frames(7), ElementsAre("seven"));
  EXPECT_EQ(table.frames(0), nullptr);
  EXPECT_EQ(table.frames(8), nullptr);
}

}  // namespace
}  // namespace stallscope::diagnose
