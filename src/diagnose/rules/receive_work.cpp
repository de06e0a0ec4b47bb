// SPDX-License-Identifier: Apache-2.0
#include "diagnose/rules/receive_work.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <utility>

#include "base/units.h"
#include "diagnose/rules/common.h"

namespace stallscope::diagnose::rules {
namespace {

using evidence::Occupant;
using evidence::WaitMode;

constexpr std::string_view program_prefix = "bpf_prog_";
constexpr std::size_t tag_digits = 16;

// Callers of tc programs (net/core/dev.c, net/sched): by classifier, and by tcx (Linux 6.6), which is mostly inlined.
constexpr std::array<std::string_view, 8> tc_callers = {
    "cls_bpf_classify", "tcf_classify",       "__tcf_classify",    "tc_run",
    "tcx_run",          "sch_handle_ingress", "sch_handle_egress", "__netif_receive_skb_core"};

constexpr std::array<std::string_view, 3> iptables_functions = {"ipt_do_table", "ip6t_do_table", "ebt_do_table"};
constexpr std::string_view nftables_prefix = "nft_do_chain";
// A rule that writes a log line takes its time there, not in the list it stands in.
constexpr std::array<std::string_view, 4> log_prefixes = {"nf_log_", "vprintk", "_printk", "console_"};

/// "bpf_prog_c641c24cb32d18ac_balancer", not the kernel's own bpf_prog_run_generic_xdp.
bool is_program(std::string_view function) {
  if (!function.starts_with(program_prefix) || function.size() < program_prefix.size() + tag_digits) {
    return false;
  }
  const std::string_view tag = function.substr(program_prefix.size(), tag_digits);
  return tag.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_xdp_caller(std::string_view function) {
  // Drivers that have it inlined: ixgbe_clean_rx_irq, virtnet_poll.
  return function.find("xdp") != std::string_view::npos || function.ends_with("rx_irq") || function.ends_with("_poll");
}

const std::vector<std::string>* stack_of(const Context& context, const Share& share) {
  const Occupant* occupant = occupant_of(context.evidence, share);
  return occupant == nullptr ? nullptr : context.stacks.frames(occupant->stack_id);
}

/// The shares of long NET_RX runs with such a stack, and what the same stalls had to catch up on for the budget that these took.
std::vector<Claim> claim_receive_work(const Context& context, const std::function<bool(const std::vector<std::string>&)>& matches) {
  std::vector<Claim> claims = claim_where(context, [&](const Stall&, const Share& share) {
    const std::vector<std::string>* frames = stack_of(context, share);
    return frames != nullptr && share.mode == WaitMode::net_rx_work && matches(*frames);
  });
  std::map<std::size_t, std::int64_t> by_stall_ns;
  for (const Claim& claim : claims) {
    by_stall_ns[claim.stall] += claim.length_ns;
  }
  for (const auto& [stall_index, claimed_ns] : by_stall_ns) {
    const Stall& stall = context.stalls[stall_index];
    for (std::size_t share_index = 0; share_index < stall.shares.size(); ++share_index) {
      const Share& share = stall.shares[share_index];
      if (share.mode == WaitMode::napi_budget && !context.claimed[stall_index][share_index] && claimed_ns > stall.length_ns() / 2) {
        claims.push_back({stall_index, share_index, share.length_ns});
      }
    }
  }
  return claims;
}

/// Of the claimed time, the value that `of` finds for most of it.
template <typename Of>
auto most_of(const Context& context, const std::vector<Claim>& claims, Of of) {
  std::map<decltype(of(std::vector<std::string>{})), std::int64_t> by_value_ns;
  for (const Claim& claim : claims) {
    const std::vector<std::string>* frames = stack_of(context, context.stalls[claim.stall].shares[claim.share]);
    if (frames != nullptr) {
      by_value_ns[of(*frames)] += claim.length_ns;
    }
  }
  return std::max_element(by_value_ns.begin(), by_value_ns.end(), [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

Finding receive_finding(const Context& context, std::vector<Claim> claims) {
  Finding finding = finding_by_stack(context, std::move(claims));
  if (finding.confidence == Confidence::high) {
    finding.confidence_reason = "the kernel stack was sampled inside it";
  }
  finding.other_causes = other_causes(context, {Check::napi_budget, Check::other_vectors, Check::steal, Check::prober});
  return finding;
}

std::optional<Finding> slow_program(const Context& context, ProgramHook hook) {
  std::vector<Claim> claims = claim_receive_work(context, [&](const std::vector<std::string>& frames) {
    const std::optional<ReceiveProgram> program = receive_program(frames);
    return program && program->hook == hook;
  });
  if (claims.empty()) {
    return std::nullopt;
  }
  const auto [tag, name] = most_of(context, claims, [](const std::vector<std::string>& frames) {
    const std::optional<ReceiveProgram> program = receive_program(frames);
    return program ? std::pair(program->tag, program->name) : std::pair(std::string_view{}, std::string_view{});
  });
  Finding finding = receive_finding(context, std::move(claims));
  const std::string_view kind = hook == ProgramHook::xdp ? "XDP" : "tc";
  finding.cause = fmt::format("the {} program {} takes up to {} of one run of NET_RX", kind,
                              name.empty() ? fmt::format("with tag {}", tag) : std::string(name),
                              base::format_duration(longest_claim_ns(finding.claims)));
  finding.evidence_for.push_back(fmt::format("the kernel stack is inside bpf_prog_{}{}{} in {}", tag, name.empty() ? "" : "_", name,
                                             of_stalls(stall_count(finding.claims), context)));
  finding.next_steps.push_back(fmt::format("see its id and who loaded it: sudo bpftool prog show tag {}", tag));
  finding.next_steps.push_back(
      fmt::format("let whoever owns it make it cheaper, for the packets that are slow; what it is for is lost with it"));
  finding.next_steps.push_back(fmt::format("read docs/rules/{}.md", hook == ProgramHook::xdp ? "slow-xdp" : "slow-tc"));
  return finding;
}

}  // namespace

std::optional<ReceiveProgram> receive_program(const std::vector<std::string>& frames) {
  // The outermost program of the innermost ones: what it called may be programs, too.
  std::optional<std::size_t> found;
  for (std::size_t index = 0; index < frames.size(); ++index) {
    if (is_program(function_name(frames[index]))) {
      found = index;
    }
  }
  if (!found || *found + 1 == frames.size()) {
    return std::nullopt;
  }
  const std::string_view program = function_name(frames[*found]).substr(program_prefix.size());
  const std::string_view caller = function_name(frames[*found + 1]);
  ReceiveProgram result;
  result.tag = program.substr(0, tag_digits);
  result.name = program.substr(std::min(program.size(), tag_digits + 1));
  if (is_xdp_caller(caller)) {
    result.hook = ProgramHook::xdp;
  } else if (std::find(tc_callers.begin(), tc_callers.end(), caller) != tc_callers.end()) {
    result.hook = ProgramHook::tc;
  } else {
    return std::nullopt;
  }
  return result;
}

std::string_view rules_walked(const std::vector<std::string>& frames) {
  for (const std::string& frame : frames) {
    const std::string_view function = function_name(frame);
    if (std::any_of(log_prefixes.begin(), log_prefixes.end(),
                    [&](std::string_view known) { return function.starts_with(known); })) {
      return {};
    }
    if (function.starts_with(nftables_prefix)) {
      return "nftables";
    }
    if (std::find(iptables_functions.begin(), iptables_functions.end(), function) != iptables_functions.end()) {
      return "iptables";
    }
  }
  return {};
}

std::optional<Finding> slow_xdp(const Context& context) {
  return slow_program(context, ProgramHook::xdp);
}

std::optional<Finding> slow_tc(const Context& context) {
  return slow_program(context, ProgramHook::tc);
}

std::optional<Finding> netfilter_rules(const Context& context) {
  std::vector<Claim> claims =
      claim_receive_work(context, [](const std::vector<std::string>& frames) { return !rules_walked(frames).empty(); });
  if (claims.empty()) {
    return std::nullopt;
  }
  const std::string_view backend = most_of(context, claims, rules_walked);
  const std::string where = working_in(context, claims);
  Finding finding = receive_finding(context, std::move(claims));
  finding.cause = fmt::format("received packets walk {} rules one by one: up to {} of one run of NET_RX{}{}", backend,
                              base::format_duration(longest_claim_ns(finding.claims)), where.empty() ? "" : " ", where);
  finding.evidence_for.push_back(fmt::format("NET_RX ran without a pause, evaluating {} rules, in {}", backend,
                                             of_stalls(stall_count(finding.claims), context)));
  finding.next_steps.emplace_back(
      backend == "nftables" ? "count the rules: nft list ruleset | wc -l; put long lists into sets and verdict maps"
                            : "count the rules: iptables-save | wc -l; put long lists into an ipset, or use nftables with sets");
  finding.next_steps.emplace_back("look in each network namespace of this node: the list may be a container's or the node's own");
  finding.next_steps.emplace_back("read docs/rules/netfilter-rules.md");
  return finding;
}

}  // namespace stallscope::diagnose::rules
