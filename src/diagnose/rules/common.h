// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "diagnose/rules/rule.h"

namespace stallscope::diagnose::rules {

/// The open shares for which `matches` holds; with them the time a stall's queue took to drain, where they are most of that stall.
[[nodiscard]] std::vector<Claim> claim_where(const Context& context,
                                             const std::function<bool(const Stall&, const Share&)>& matches);
/// The open shares of one mode whose holder is known (or, with `also_unseen`, those whose holder is not, too).
[[nodiscard]] std::vector<Claim> claim_mode(const Context& context, std::initializer_list<evidence::WaitMode> modes,
                                            bool also_unseen);

/// A task among the claimed shares.
struct Suspect {
  const evidence::Occupant* occupant = nullptr;
  std::int64_t total_ns = 0;
  std::int64_t longest_ns = 0;
  /// Indices into Context::stalls.
  std::vector<std::size_t> stalls;
};
/// By process, the one that held longest first.
[[nodiscard]] std::vector<Suspect> suspects(const Context& context, const std::vector<Claim>& claims);

/// "cadvisor (pid 4121)"
[[nodiscard]] std::string task_name(const evidence::Occupant& occupant);
/// "cadvisor (pid 4121) and 2 others"
[[nodiscard]] std::string name_suspects(const std::vector<Suspect>& found);
/// "in memcg_stat_show", from the longest claimed share that has a stack; empty where less than half of the time has one.
[[nodiscard]] std::string working_in(const Context& context, const std::vector<Claim>& claims);
/// Length of the longest claimed share.
[[nodiscard]] std::int64_t longest_claim_ns(const std::vector<Claim>& claims);
/// How many different stalls are among the claims.
[[nodiscard]] std::int64_t stall_count(const std::vector<Claim>& claims);
/// "3 of 5 stalls"
[[nodiscard]] std::string of_stalls(std::int64_t count, const Context& context);
/// Of the claimed time, the part that has an occupant with a stack, from 0 to 1.
[[nodiscard]] double part_with_stack(const Context& context, const std::vector<Claim>& claims);
/// A finding with these claims, whose confidence follows from how much of the claimed time has a known holder and its stack: high
/// where nearly all has both, medium with holders only, low otherwise.
[[nodiscard]] Finding finding_by_stack(const Context& context, std::vector<Claim> claims);

enum class Check : std::uint8_t { napi_budget, other_vectors, steal, prober };
/// What else could have been the cause, and what was measured about it.
[[nodiscard]] std::vector<OtherCause> other_causes(const Context& context, std::initializer_list<Check> checks);

/// Steal time of the stalled CPUs over the recording as a fraction of it, the largest of them; negative where it was not recorded.
[[nodiscard]] double steal_fraction(const Context& context);

}  // namespace stallscope::diagnose::rules
