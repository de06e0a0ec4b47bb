// SPDX-License-Identifier: Apache-2.0
#include "diagnose/rules/kernel_work.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "diagnose/diagnose.h"
#include "diagnose/rules/kernel_work_table.h"
#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose::rules {
namespace {

using evidence::Evidence;
using evidence::Occupant;
using evidence::WaitMode;
using ::testing::Contains;
using ::testing::HasSubstr;
using testing::ms;

struct Holder {
  std::vector<std::string> frames = {};
  std::string file = {};
  WaitMode mode = WaitMode::hard_irqs_off;
  std::int32_t syscall_number = 0;
};

/// A node whose own packets waited for 60 ms while somebody held CPU 0.
Evidence held_by(const Holder& holder) {
  Evidence evidence = testing::quiet_run(500);
  evidence::WaitRecord& wait = testing::add_wait(evidence, 0, holder.mode, 100 * ms, 160 * ms);
  wait.packets_released = 6;
  Occupant occupant;
  occupant.pid = occupant.tgid = 77;
  occupant.comm = "agent";
  occupant.cgroup = "/kubepods/pod7f9c";
  occupant.held_ns = wait.length_ns();
  occupant.syscall_number = holder.syscall_number;
  occupant.file = holder.file;
  if (!holder.frames.empty()) {
    occupant.stack_id = 9;
    evidence.stacks.push_back({9, holder.frames});
  }
  wait.occupants.push_back(occupant);
  return evidence;
}

Finding only_finding(const Holder& holder) {
  const Diagnosis diagnosis = diagnose(held_by(holder));
  EXPECT_EQ(diagnosis.findings.size(), 1U);
  return diagnosis.findings.empty() ? Finding{} : diagnosis.findings.front();
}

const std::vector<std::string> release_in_worker = {"_raw_spin_unlock_irq", "css_rstat_flush", "css_release_work_fn",
                                                    "process_one_work",     "worker_thread",   "kthread"};
const std::vector<std::string> statistics_read = {"_raw_spin_unlock_irq", "css_rstat_flush", "memcg1_stat_format",
                                                  "seq_read_iter",        "vfs_read",        "ksys_read"};

TEST(ZombieRelease, is_told_by_the_worker_and_goes_before_the_flush_it_ends_with) {
  const Finding finding = only_finding({.frames = release_in_worker});
  EXPECT_EQ(finding.rule_id, "zombie-release");
  EXPECT_EQ(finding.cause, "agent (pid 77) lets go of removed memory cgroups with interrupts off: up to 60 ms in css_rstat_flush");
  EXPECT_EQ(finding.confidence, Confidence::high);
  EXPECT_THAT(finding.evidence_for, Contains("the kernel stack is inside css_release_work_fn in 1 of 1 stall"));
  EXPECT_THAT(finding.next_steps, Contains("read docs/rules/zombie-release.md"));
}

TEST(ZombieRelease, is_not_the_removal_of_a_cgroup_that_somebody_asked_for) {
  EXPECT_EQ(only_finding({.frames = {"_raw_spin_unlock_irq", "css_rstat_flush", "cgroup_rmdir", "vfs_rmdir"}}).rule_id,
            "memcg-stat-flush");
}

TEST(ZombieRelease, says_how_many_cgroups_there_were) {
  Evidence evidence = held_by({.frames = release_in_worker});
  testing::add_zombies(evidence, 27 * testing::us);
  EXPECT_THAT(diagnose(evidence).findings.at(0).evidence_for, Contains(HasSubstr("50,006 of 50,011 memory cgroups were dying")));
}

TEST(NumaStatRead, is_told_by_the_file_or_by_the_function) {
  const Finding by_file = only_finding({.file = "/sys/fs/cgroup/memory/kubepods/memory.numa_stat"});
  EXPECT_EQ(by_file.rule_id, "numa-stat-read");
  EXPECT_EQ(by_file.confidence, Confidence::medium);
  EXPECT_THAT(by_file.evidence_for, Contains(HasSubstr("memory.numa_stat was being read in 1 of 1 stall")));
  const Finding by_stack =
      only_finding({.frames = {"_raw_spin_unlock_irq", "css_rstat_flush", "memcg_numa_stat_show", "seq_read_iter", "vfs_read"}});
  EXPECT_EQ(by_stack.rule_id, "numa-stat-read");
  EXPECT_EQ(by_stack.confidence, Confidence::high);
}

TEST(NumaStatRead, is_not_a_read_of_memory_stat) {
  EXPECT_EQ(only_finding({.frames = statistics_read, .file = "/sys/fs/cgroup/memory/memory.stat"}).rule_id, "memcg-stat-flush");
}

TEST(SlabinfoRead, is_told_by_the_file_or_by_the_function) {
  EXPECT_EQ(only_finding({.file = "/proc/slabinfo"}).rule_id, "slabinfo-read");
  EXPECT_EQ(
      only_finding({.frames = {"_raw_spin_unlock_irqrestore", "count_partial_free_approx", "get_slabinfo", "slab_show"}}).rule_id,
      "slabinfo-read");
}

TEST(SlabinfoRead, is_no_file_of_another_name_and_no_other_call_than_a_read) {
  EXPECT_EQ(only_finding({.file = "/proc/myslabinfo"}).rule_id, "irq-off-section");
  constexpr std::int32_t ioctl = 16;
  EXPECT_EQ(only_finding({.file = "/proc/slabinfo", .syscall_number = ioctl}).rule_id, "irq-off-section");
}

const std::vector<std::string> reclaim_in_fault = {"shrink_folio_list",    "shrink_lruvec",
                                                   "do_try_to_free_pages", "try_to_free_mem_cgroup_pages",
                                                   "try_charge_memcg",     "do_anonymous_page"};

TEST(DirectReclaim, names_the_cgroup_that_is_at_its_limit) {
  const Finding finding = only_finding({.frames = reclaim_in_fault, .mode = WaitMode::napi_thread_delayed});
  EXPECT_EQ(finding.rule_id, "direct-reclaim");
  EXPECT_EQ(finding.cause,
            "agent (pid 77) reclaims memory inside its own allocations and keeps the NAPI thread waiting: up to 60 ms in "
            "shrink_folio_list");
  EXPECT_THAT(finding.evidence_for, Contains("agent (pid 77) is in cgroup /kubepods/pod7f9c"));
}

TEST(DirectReclaim, goes_before_the_slab_caches_it_shrinks) {
  EXPECT_EQ(
      only_finding({.frames = {"super_cache_count", "do_shrink_slab", "shrink_slab", "shrink_node", "try_to_free_pages"}}).rule_id,
      "direct-reclaim");
}

TEST(SlabShrink, is_told_by_drop_caches_and_by_kswapd) {
  EXPECT_EQ(only_finding({.frames = {"shrink_slab", "drop_slab", "drop_caches_sysctl_handler", "proc_sys_call_handler"},
                          .mode = WaitMode::ksoftirqd_delayed})
                .rule_id,
            "slab-shrink");
  EXPECT_EQ(only_finding({.frames = {"shrink_dentry_list", "prune_dcache_sb", "do_shrink_slab", "shrink_node", "balance_pgdat"},
                          .mode = WaitMode::bh_off})
                .rule_id,
            "slab-shrink");
}

TEST(SlabShrink, is_not_the_reclaim_of_page_cache) {
  EXPECT_EQ(only_finding({.frames = {"shrink_folio_list", "shrink_lruvec", "balance_pgdat", "kswapd"}}).rule_id, "irq-off-section");
}

TEST(KernelWork, claims_no_share_of_another_mode) {
  EXPECT_EQ(only_finding({.frames = release_in_worker, .mode = WaitMode::softirq_vector}).rule_id, "softirq-vector");
}

TEST(KernelWork, leaves_a_holder_without_stack_and_file_to_the_general_rules) {
  EXPECT_EQ(only_finding({}).rule_id, "irq-off-section");
}

TEST(KernelWork, knows_a_function_by_its_whole_name_unless_it_is_given_as_a_prefix) {
  EXPECT_TRUE(is_function_of(slabinfo_read, "__get_slabinfo"));
  EXPECT_FALSE(is_function_of(slabinfo_read, "get_slabinfo_size"));
  EXPECT_TRUE(is_function_of(slabinfo_read, "count_partial_free_approx"));
}

}  // namespace
}  // namespace stallscope::diagnose::rules
