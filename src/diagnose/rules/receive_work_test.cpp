// SPDX-License-Identifier: Apache-2.0
#include "diagnose/rules/receive_work.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "diagnose/diagnose.h"
#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose::rules {
namespace {

using evidence::Evidence;
using evidence::Occupant;
using evidence::WaitMode;
using ::testing::Contains;
using ::testing::HasSubstr;
using testing::ms;

using Frames = std::vector<std::string>;

/// One run of NET_RX of 40 ms that probes waited for, interrupted with this stack.
Evidence received_in(const Frames& frames, WaitMode mode = WaitMode::net_rx_work) {
  Evidence evidence = testing::quiet_run(500);
  testing::hold_probes(evidence, 0, 1'003 * ms, 1'043 * ms);
  evidence::WaitRecord& wait = testing::add_wait(evidence, 0, mode, 1'003 * ms, 1'043 * ms);
  wait.packets_released = 6;
  Occupant interrupted;
  interrupted.pid = interrupted.tgid = 77;
  interrupted.comm = "innocent";
  interrupted.held_ns = wait.length_ns();
  interrupted.stack_id = 9;
  wait.occupants.push_back(interrupted);
  evidence.stacks.push_back({9, frames});
  return evidence;
}

Finding only_finding(const Evidence& evidence) {
  const Diagnosis diagnosis = diagnose(evidence);
  EXPECT_EQ(diagnosis.findings.size(), 1U);
  return diagnosis.findings.empty() ? Finding{} : diagnosis.findings.front();
}

const Frames generic_xdp = {"ktime_get_mono_fast_ns",
                            "bpf_prog_8429fca94468496f_lookup [bpf]",
                            "bpf_prog_c641c24cb32d18ac_balancer [bpf]",
                            "bpf_prog_run_generic_xdp",
                            "do_xdp_generic",
                            "__netif_receive_skb_core",
                            "process_backlog",
                            "__napi_poll",
                            "net_rx_action"};
const Frames driver_xdp = {"bpf_prog_c641c24cb32d18ac [bpf]", "veth_xdp_rcv_skb", "veth_xdp_rcv", "veth_poll", "__napi_poll"};
const Frames tc_classifier = {"bpf_prog_38ff7e0e2f0a9b7a_from_netdev [bpf]",
                              "cls_bpf_classify",
                              "__tcf_classify",
                              "tc_run",
                              "__netif_receive_skb_core",
                              "process_backlog"};
const Frames socket_filter = {"bpf_prog_38ff7e0e2f0a9b7a_filter [bpf]",
                              "sk_filter_trim_cap",
                              "sock_queue_rcv_skb_reason",
                              "packet_rcv",
                              "__netif_receive_skb_core",
                              "process_backlog"};

TEST(ReceiveProgram, is_told_from_its_subprograms_and_from_programs_of_other_hooks) {
  const std::optional<ReceiveProgram> generic = receive_program(generic_xdp);
  ASSERT_TRUE(generic);
  EXPECT_EQ(generic->hook, ProgramHook::xdp);
  EXPECT_EQ(generic->tag, "c641c24cb32d18ac");
  EXPECT_EQ(generic->name, "balancer");
  const std::optional<ReceiveProgram> driver = receive_program(driver_xdp);
  ASSERT_TRUE(driver);
  EXPECT_EQ(driver->hook, ProgramHook::xdp);
  EXPECT_EQ(driver->name, "");
  ASSERT_TRUE(receive_program(tc_classifier));
  EXPECT_EQ(receive_program(tc_classifier)->hook, ProgramHook::tc);
  EXPECT_FALSE(receive_program(socket_filter));
}

TEST(ReceiveProgram, survives_stacks_that_say_nothing) {
  EXPECT_FALSE(receive_program({}));
  EXPECT_FALSE(receive_program({"bpf_prog_c641c24cb32d18ac_balancer"}));
  EXPECT_FALSE(receive_program({"bpf_prog_", "do_xdp_generic"}));
  EXPECT_FALSE(receive_program({"bpf_prog_c641c24cb32d18", "do_xdp_generic"}));
  EXPECT_FALSE(receive_program({"bpf_prog_run_generic_xdp", "do_xdp_generic"}));
}

TEST(SlowXdp, names_the_program_and_not_who_was_interrupted) {
  const Finding finding = only_finding(received_in(generic_xdp));
  EXPECT_EQ(finding.rule_id, "slow-xdp");
  EXPECT_EQ(finding.cause, "the XDP program balancer takes up to 40 ms of one run of NET_RX");
  EXPECT_EQ(finding.confidence, Confidence::high);
  EXPECT_THAT(finding.evidence_for, Contains("the kernel stack is inside bpf_prog_c641c24cb32d18ac_balancer in 1 of 1 stall"));
  EXPECT_THAT(finding.next_steps, Contains(HasSubstr("bpftool prog show tag c641c24cb32d18ac")));
  EXPECT_EQ(only_finding(received_in(driver_xdp)).cause,
            "the XDP program with tag c641c24cb32d18ac takes up to 40 ms of one run of NET_RX");
}

TEST(SlowXdp, explains_what_had_to_be_caught_up_on_for_it) {
  Evidence evidence = received_in(generic_xdp);
  testing::hold_probes(evidence, 0, 1'043 * ms, 1'046 * ms);
  evidence::WaitRecord& squeezed = testing::add_wait(evidence, 0, WaitMode::napi_budget, 1'003 * ms, 1'046 * ms);
  squeezed.packets_released = 900;
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_EQ(diagnosis.findings.size(), 1U);
  EXPECT_EQ(diagnosis.findings[0].explained_ns, diagnosis.stalled_ns);
}

TEST(SlowTc, names_the_program) {
  const Finding finding = only_finding(received_in(tc_classifier));
  EXPECT_EQ(finding.rule_id, "slow-tc");
  EXPECT_EQ(finding.cause, "the tc program from_netdev takes up to 40 ms of one run of NET_RX");
}

TEST(SlowPrograms, leave_other_programs_and_other_modes_to_the_general_rules) {
  EXPECT_EQ(only_finding(received_in(socket_filter)).rule_id, "net-rx-work");
  EXPECT_EQ(only_finding(received_in(generic_xdp, WaitMode::napi_budget)).rule_id, "napi-budget");
}

TEST(NetfilterRules, tells_nftables_from_iptables) {
  const Finding nft = only_finding(received_in({"nft_do_chain", "nft_do_chain_ipv4", "nf_hook_slow", "ip_rcv", "process_backlog"}));
  EXPECT_EQ(nft.rule_id, "netfilter-rules");
  EXPECT_EQ(nft.cause, "received packets walk nftables rules one by one: up to 40 ms of one run of NET_RX in nft_do_chain");
  EXPECT_THAT(nft.next_steps, Contains(HasSubstr("nft list ruleset")));
  const Finding iptables =
      only_finding(received_in({"string_mt", "ipt_do_table", "nf_hook_slow", "ip_local_deliver", "process_backlog"}));
  EXPECT_EQ(iptables.rule_id, "netfilter-rules");
  EXPECT_THAT(iptables.cause, HasSubstr("walk iptables rules"));
  EXPECT_THAT(iptables.next_steps, Contains(HasSubstr("ipset")));
}

TEST(NetfilterRules, are_not_a_rule_that_writes_a_log_nor_any_other_hook) {
  EXPECT_EQ(only_finding(received_in({"console_unlock", "vprintk_emit", "_printk", "nf_log_packet", "nft_do_chain", "nf_hook_slow",
                                      "ip_rcv"}))
                .rule_id,
            "net-rx-work");
  EXPECT_EQ(only_finding(received_in({"nf_conntrack_in", "nf_hook_slow", "ip_rcv", "process_backlog"})).rule_id, "net-rx-work");
}

}  // namespace
}  // namespace stallscope::diagnose::rules
