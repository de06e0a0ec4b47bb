// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "diagnose/diagnose.h"
#include "diagnose/rules/rule.h"
#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose::rules {
namespace {

using evidence::Evidence;
using evidence::Occupant;
using evidence::WaitMode;
using evidence::WaitRecord;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ms;
using ::testing::Not;
using ::testing::SizeIs;

std::vector<std::string> rule_ids(const Diagnosis& diagnosis) {
  std::vector<std::string> ids;
  for (const Finding& finding : diagnosis.findings) {
    ids.push_back(finding.rule_id);
  }
  return ids;
}

/// The incident with the occupant of each wait changed.
template <typename Change>
Evidence incident_with(Change change) {
  Evidence evidence = testing::incident();
  for (WaitRecord& wait : evidence.waits) {
    for (Occupant& occupant : wait.occupants) {
      change(occupant);
    }
  }
  return evidence;
}

TEST(MemcgStatFlush, explains_the_incident) {
  const Diagnosis diagnosis = diagnose(testing::incident());
  ASSERT_THAT(rule_ids(diagnosis), ElementsAre("memcg-stat-flush"));
  const Finding& finding = diagnosis.findings[0];
  EXPECT_EQ(finding.cause, "reading memory.stat flushes 50,006 zombie memory cgroups with interrupts off");
  EXPECT_EQ(finding.explained_ns, diagnosis.stalled_ns);
  EXPECT_EQ(finding.confidence, Confidence::high);
  EXPECT_THAT(finding.evidence_for, Contains(HasSubstr("3 of 3 stalls (p < 0.001); one read takes 96.7 ms, 1.9 us per zombie")));
  EXPECT_THAT(finding.evidence_for, Contains(HasSubstr("pages of /dev/shm/pins pin all of them, to which 195 MiB are charged")));
  EXPECT_THAT(finding.next_steps, Contains(HasSubstr("cadvisor (pid 4121) read memory.stat less often; it stalled this host "
                                                     "about every 5.0 s")));
}

TEST(MemcgStatFlush, proposes_to_delete_no_file_of_a_disk) {
  Evidence evidence = testing::incident();
  EXPECT_THAT(diagnose(evidence).findings.at(0).next_steps, Contains(HasSubstr("delete /dev/shm/pins")));
  evidence.pinning_files[0].path = "/usr/bin/bash";
  evidence.pinning_files[0].filesystem = "ext4";
  EXPECT_THAT(diagnose(evidence).findings.at(0).next_steps, Not(Contains(HasSubstr("delete"))));
  EXPECT_THAT(diagnose(evidence).findings.at(0).next_steps, Contains(HasSubstr("leave /usr/bin/bash where it is")));
}

TEST(MemcgStatFlush, one_sign_alone_gives_medium_confidence) {
  Evidence by_file = incident_with([](Occupant& occupant) { occupant.stack_id = 0; });
  by_file.flushes.clear();
  by_file.gaps.push_back({"rstat flush sections", "no tracepoint", ""});
  ASSERT_THAT(rule_ids(diagnose(by_file)), ElementsAre("memcg-stat-flush"));
  EXPECT_EQ(diagnose(by_file).findings[0].confidence, Confidence::medium);
  EXPECT_THAT(diagnose(by_file).findings[0].evidence_for, Contains(HasSubstr("p unknown")));

  Evidence by_stack = incident_with([](Occupant& occupant) { occupant.syscall_number.reset(); });
  by_stack.flushes.clear();
  EXPECT_EQ(diagnose(by_stack).findings[0].confidence, Confidence::medium);
}

TEST(MemcgStatFlush, flush_sections_alone_give_low_confidence) {
  const Diagnosis diagnosis = diagnose(incident_with([](Occupant& occupant) {
    occupant.stack_id = 0;
    occupant.file.clear();
    occupant.syscall_number.reset();
  }));
  ASSERT_THAT(rule_ids(diagnosis), ElementsAre("memcg-stat-flush"));
  EXPECT_EQ(diagnosis.findings[0].confidence, Confidence::low);
}

TEST(MemcgStatFlush, does_not_claim_a_reader_of_something_else) {
  Evidence evidence = incident_with([](Occupant& occupant) {
    occupant.file = "/proc/interrupts";
    occupant.stack_id = 3;
  });
  evidence.flushes.clear();
  EXPECT_THAT(rule_ids(diagnose(evidence)), ElementsAre("irq-off-section"));
}

TEST(MemcgStatFlush, needs_a_read_for_the_file_to_be_a_sign) {
  Evidence evidence = incident_with([](Occupant& occupant) {
    occupant.syscall_number = 16;
    occupant.stack_id = 3;
  });
  evidence.flushes.clear();
  EXPECT_THAT(rule_ids(diagnose(evidence)), ElementsAre("irq-off-section"));
}

TEST(MemcgStatFlush, knows_the_kernels_own_worker) {
  Evidence evidence = incident_with([](Occupant& occupant) {
    occupant.comm = "kworker/0:1";
    occupant.kernel_thread = true;
    occupant.syscall_number.reset();
    occupant.file.clear();
    occupant.stack_id = 4;
  });
  evidence.stacks.push_back({4,
                             {"_raw_spin_unlock_irq", "cgroup_rstat_flush_locked", "flush_memcg_stats_dwork", "process_one_work",
                              "worker_thread", "kthread", "ret_from_fork"}});
  const Diagnosis diagnosis = diagnose(evidence);
  EXPECT_THAT(diagnosis.findings.at(0).cause, HasSubstr("the kernel's own flush worker flushes 50,006 zombie"));
  EXPECT_THAT(diagnosis.findings[0].next_steps, Not(Contains(HasSubstr("less often"))));
}

TEST(MemcgStatFlush, says_when_flush_sections_do_not_agree) {
  Evidence evidence = testing::incident();
  evidence.flushes.resize(1);
  const Diagnosis diagnosis = diagnose(evidence);
  EXPECT_THAT(diagnosis.findings.at(0).evidence_for, Contains(HasSubstr("flush sections overlap 1 of 3 stalls (p = 0.0")));
}

TEST(MemcgStatFlush, does_not_blame_zombies_that_are_few) {
  Evidence evidence = testing::incident();
  evidence.memcg_census->visible = 49'000;
  const Diagnosis diagnosis = diagnose(evidence);
  EXPECT_EQ(diagnosis.findings.at(0).cause,
            "reading memory.stat flushes the statistics of 50,011 memory cgroups with interrupts off");
  EXPECT_THAT(diagnosis.findings[0].next_steps, Not(Contains(HasSubstr("zombies it pins"))));
}

TEST(Zombies, without_cost_are_a_note_and_no_finding) {
  const Diagnosis diagnosis = diagnose(testing::healthy_zombies());
  EXPECT_THAT(diagnosis.findings, IsEmpty());
  EXPECT_EQ(diagnosis.outcome, Outcome::clean);
  EXPECT_THAT(diagnosis.notes, ElementsAre("50,006 zombie memory cgroups are present; a memory.stat read costs 27 us: "
                                           "harmless now."));
}

TEST(Zombies, are_not_called_harmless_unless_the_read_was_timed_and_short) {
  Evidence evidence = testing::healthy_zombies();
  evidence.stat_reads[0].worst_ns = 40 * ms;
  EXPECT_THAT(diagnose(evidence).notes, ElementsAre(HasSubstr("took up to 40 ms: enough to stall")));
  evidence.stat_reads.clear();
  EXPECT_THAT(diagnose(evidence).notes, ElementsAre(HasSubstr("is unknown")));
}

Evidence with_hung_task(std::int64_t blocked_ns, std::vector<evidence::SettingRecord> settings) {
  Evidence evidence = testing::quiet_run();
  evidence.blocked_tasks = {{812, 811, "backup", "do_truncate", blocked_ns}};
  evidence.settings = std::move(settings);
  return evidence;
}

TEST(HungTask, is_a_note_that_says_whether_the_kernel_would_panic) {
  constexpr std::int64_t blocked_ns = 20 * testing::second;
  const auto note = [&](std::vector<evidence::SettingRecord> settings) {
    const Diagnosis diagnosis = diagnose(with_hung_task(blocked_ns, std::move(settings)));
    EXPECT_EQ(diagnosis.outcome, Outcome::clean);
    return diagnosis.notes.empty() ? std::string{} : diagnosis.notes.front();
  };
  EXPECT_EQ(note({{"kernel.hung_task_panic", 0}, {"kernel.hung_task_timeout_secs", 120}}),
            "backup (pid 812) did not run during the recording, in uninterruptible sleep in do_truncate for 20 s or more: after "
            "120 s the kernel logs it as hung (kernel.hung_task_panic is 0). See docs/rules/hung-task.md.");
  EXPECT_THAT(note({{"kernel.hung_task_panic", 1}, {"kernel.hung_task_timeout_secs", 120}}),
              HasSubstr("after 120 s THE KERNEL PANICS (kernel.hung_task_panic is 1)"));
  EXPECT_THAT(note({{"kernel.hung_task_timeout_secs", 0}}), HasSubstr("does not look for hung tasks"));
  EXPECT_THAT(note({{"kernel.hung_task_timeout_secs", 120}}), HasSubstr("whether it then panics is not known"));
  EXPECT_THAT(note({}), HasSubstr("is not known"));
}

TEST(HungTask, is_not_a_task_that_waits_for_a_disk) {
  EXPECT_THAT(diagnose(with_hung_task(4 * testing::second, {})).notes, IsEmpty());
}

TEST(Findings, never_claim_a_nanosecond_twice_and_list_the_largest_first) {
  const Diagnosis diagnosis = diagnose(testing::two_causes());
  EXPECT_THAT(rule_ids(diagnosis), ElementsAre("irq-off-section", "softirq-vector", "vcpu-stolen"));
  std::int64_t explained_ns = 0;
  for (const Finding& finding : diagnosis.findings) {
    explained_ns += finding.explained_ns;
  }
  EXPECT_LE(explained_ns, diagnosis.stalled_ns);
  EXPECT_GT(explained_ns, diagnosis.stalled_ns * 99 / 100);
}

TEST(SoftirqVector, names_vector_and_function) {
  const Diagnosis diagnosis = diagnose(testing::passive());
  ASSERT_THAT(rule_ids(diagnosis), ElementsAre("softirq-vector", "thread-delay"));
  EXPECT_THAT(diagnosis.findings[0].cause, HasSubstr("softirq vector TIMER ran for up to 210 ms in estimation_timer"));
  EXPECT_THAT(diagnosis.findings[0].next_steps, Contains(HasSubstr("IPVS")));
  EXPECT_EQ(diagnosis.findings[1].confidence, Confidence::medium);
}

TEST(VcpuStolen, confidence_follows_the_steal_counter) {
  Evidence evidence = testing::two_causes();
  const auto confidence = [&] {
    const Diagnosis diagnosis = diagnose(evidence);
    const auto found = std::find_if(diagnosis.findings.begin(), diagnosis.findings.end(),
                                    [](const Finding& finding) { return finding.rule_id == "vcpu-stolen"; });
    return found->confidence;
  };
  EXPECT_EQ(confidence(), Confidence::high);
  for (evidence::CounterRecord& counter : evidence.counters) {
    counter.after = counter.before;
  }
  EXPECT_EQ(confidence(), Confidence::low);
  evidence.counters.clear();
  EXPECT_EQ(confidence(), Confidence::medium);
}

TEST(NetRxWork, names_the_function_it_was_in) {
  Evidence evidence = testing::quiet_run(500);
  evidence.stacks.push_back({9, {"fib_table_lookup", "ip_route_input_rcu", "ip_rcv", "net_rx_action"}});
  WaitRecord& wait = testing::add_wait(evidence, 0, WaitMode::net_rx_work, 100 * ms, 130 * ms);
  wait.packets_released = 64;
  Occupant occupant;
  occupant.pid = 17;
  occupant.comm = "ksoftirqd/0";
  occupant.held_ns = wait.length_ns();
  occupant.stack_id = 9;
  wait.occupants.push_back(occupant);
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_THAT(rule_ids(diagnosis), ElementsAre("net-rx-work"));
  EXPECT_EQ(diagnosis.findings[0].cause, "receiving packets itself took up to 30 ms in fib_table_lookup");
}

TEST(BhOffSection, names_who_had_bottom_halves_off_and_where) {
  Evidence evidence = testing::quiet_run(500);
  evidence.stacks.push_back({9, {"cls_bpf_classify", "tcf_classify", "__dev_queue_xmit", "udp_sendmsg", "do_syscall_64"}});
  WaitRecord& wait = testing::add_wait(evidence, 0, WaitMode::bh_off, 100 * ms, 160 * ms);
  wait.packets_released = 6;
  Occupant occupant;
  occupant.pid = occupant.tgid = 77;
  occupant.comm = "exporter";
  occupant.held_ns = wait.length_ns();
  occupant.stack_id = 9;
  wait.occupants.push_back(occupant);
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_THAT(rule_ids(diagnosis), ElementsAre("bh-off-section"));
  EXPECT_EQ(diagnosis.findings[0].cause, "exporter (pid 77) kept bottom halves off for up to 60 ms in cls_bpf_classify");
  EXPECT_EQ(diagnosis.findings[0].confidence, Confidence::high);
}

TEST(ThreadDelay, names_who_computed_and_no_function_of_somebody_elses) {
  Evidence evidence = testing::quiet_run(500);
  testing::hold_probes(evidence, 0, 1'003 * ms, 1'063 * ms, /*with_packets=*/false);
  WaitRecord& wait = testing::add_wait(evidence, 0, WaitMode::napi_thread_delayed, 1'003 * ms, 1'063 * ms);
  Occupant hog;
  hog.pid = hog.tgid = 99;
  hog.comm = "hog";
  hog.held_ns = 56 * ms;
  Occupant other;
  other.pid = other.tgid = 7;
  other.comm = "kworker/0:0";
  other.held_ns = 4 * ms;
  other.stack_id = 9;
  evidence.stacks.push_back({9, {"decay_pcp_high", "refresh_cpu_vm_stats", "worker_thread"}});
  wait.occupants = {hog, other};
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_THAT(rule_ids(diagnosis), ElementsAre("thread-delay"));
  EXPECT_EQ(diagnosis.findings[0].cause, "hog (pid 99) and 1 other kept the NAPI thread waiting for up to 56 ms");
  EXPECT_THAT(diagnosis.findings[0].evidence_for,
              Contains("packets waited to be polled and the NAPI thread did not run in 1 of 1 stall"));
}

TEST(NapiBudget, takes_what_a_delayed_ksoftirqd_does_not_explain) {
  Evidence evidence = testing::quiet_run(500);
  evidence.probes.clear();
  WaitRecord& squeezed = testing::add_wait(evidence, 0, WaitMode::napi_budget, 100 * ms, 180 * ms);
  squeezed.packets_released = 41'000;
  Occupant ksoftirqd;
  ksoftirqd.pid = ksoftirqd.tgid = 15;
  ksoftirqd.comm = "ksoftirqd/0";
  ksoftirqd.held_ns = squeezed.length_ns();
  squeezed.occupants.push_back(ksoftirqd);
  WaitRecord& delayed = testing::add_wait(evidence, 0, WaitMode::ksoftirqd_delayed, 120 * ms, 150 * ms);
  Occupant hog;
  hog.pid = hog.tgid = 99;
  hog.comm = "hog";
  hog.held_ns = delayed.length_ns();
  delayed.occupants.push_back(hog);
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_THAT(rule_ids(diagnosis), ElementsAre("napi-budget", "thread-delay"));
  EXPECT_EQ(diagnosis.findings[0].explained_ns, 50 * ms);
  EXPECT_THAT(diagnosis.findings[0].evidence_for, Contains(HasSubstr("up to 41,000 packets")));
  EXPECT_EQ(diagnosis.findings[1].explained_ns, 30 * ms);
}

TEST(Unexplained, what_nobody_was_seen_to_hold_stays_open) {
  Evidence evidence = testing::quiet_run(500);
  testing::hold_probes(evidence, 0, 1'003 * ms, 1'063 * ms);
  testing::add_wait(evidence, 0, WaitMode::hard_irqs_off, 1'003 * ms, 1'063 * ms);
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_THAT(rule_ids(diagnosis), ElementsAre("unexplained"));
  EXPECT_FALSE(diagnosis.findings[0].confidence);
  EXPECT_THAT(diagnosis.findings[0].evidence_for, Contains(HasSubstr("who held it was not seen")));
}

TEST(Unexplained, sends_the_reader_of_a_remote_stall_to_that_host) {
  const Diagnosis diagnosis = diagnose(testing::remote());
  ASSERT_THAT(rule_ids(diagnosis), ElementsAre("unexplained"));
  EXPECT_THAT(diagnosis.findings[0].next_steps, Contains(HasSubstr("on db-7.example itself, run: sudo stallscope diagnose")));
  EXPECT_THAT(diagnosis.findings[0].other_causes, SizeIs(1));
}

TEST(OtherCauses, what_was_not_recorded_is_unknown_and_what_is_large_is_not_excluded) {
  Evidence evidence = testing::incident();
  std::erase_if(evidence.counters, [](const evidence::CounterRecord& counter) { return counter.name == "steal"; });
  for (evidence::CounterRecord& counter : evidence.counters) {
    counter.after += counter.cpu == 0 ? 4 : 90;
  }
  const std::vector<OtherCause> causes = diagnose(evidence).findings.at(0).other_causes;
  ASSERT_THAT(causes, SizeIs(4));
  EXPECT_EQ(causes[0].verdict, OtherCause::Verdict::present);
  // Only the CPU that stalled counts.
  EXPECT_EQ(causes[0].measured, "4 squeezes");
  EXPECT_EQ(causes[1].verdict, OtherCause::Verdict::excluded);
  EXPECT_EQ(causes[2].verdict, OtherCause::Verdict::unknown);
}

TEST(AllRules, end_with_unexplained) {
  EXPECT_EQ(all_rules().back().id, "unexplained");
}

}  // namespace
}  // namespace stallscope::diagnose::rules
