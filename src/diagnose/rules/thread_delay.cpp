// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "base/units.h"
#include "diagnose/rules/common.h"

namespace stallscope::diagnose::rules {
namespace {

using evidence::WaitMode;

std::string_view victim(WaitMode mode) {
  switch (mode) {
    case WaitMode::ksoftirqd_delayed:
      return "ksoftirqd";
    case WaitMode::napi_thread_delayed:
      return "the NAPI thread";
    default:
      return "softirqs";
  }
}

}  // namespace

std::optional<Finding> thread_delay(const Context& context) {
  std::vector<Claim> claims =
      claim_mode(context, {WaitMode::softirq_delayed, WaitMode::ksoftirqd_delayed, WaitMode::napi_thread_delayed}, false);
  if (claims.empty()) {
    return std::nullopt;
  }
  std::map<WaitMode, std::int64_t> by_mode_ns;
  for (const Claim& claim : claims) {
    if (const std::optional<WaitMode> mode = context.stalls[claim.stall].shares[claim.share].mode) {
      by_mode_ns[*mode] += claim.length_ns;
    }
  }
  const WaitMode mode = std::max_element(by_mode_ns.begin(), by_mode_ns.end(), [](const auto& a, const auto& b) {
                          return a.second < b.second;
                        })->first;
  const std::vector<Suspect> found = suspects(context, claims);
  const std::string where = working_in(context, claims);
  Finding finding = finding_by_stack(context, std::move(claims));
  finding.cause = fmt::format("{} kept {} waiting for up to {}{}{}", name_suspects(found), victim(mode),
                              base::format_duration(longest_claim_ns(finding.claims)), where.empty() ? "" : " ", where);
  finding.evidence_for.push_back(fmt::format(
      "{} and {} did not run in {}", mode == WaitMode::napi_thread_delayed ? "packets waited to be polled" : "NET_RX was pending",
      victim(mode), of_stalls(stall_count(finding.claims), context)));
  finding.other_causes = other_causes(context, {Check::napi_budget, Check::other_vectors, Check::steal, Check::prober});
  finding.next_steps.push_back(
      fmt::format("look at the scheduling policy and the CPUs of {}: real-time or busy in the kernel, on a CPU that receives",
                  name_suspects(found)));
  finding.next_steps.emplace_back("read docs/rules/thread-delay.md");
  return finding;
}

}  // namespace stallscope::diagnose::rules
