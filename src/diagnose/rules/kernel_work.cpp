// SPDX-License-Identifier: Apache-2.0
#include "diagnose/rules/kernel_work.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "base/units.h"
#include "evidence/syscalls.h"

namespace stallscope::diagnose::rules {
namespace {

using evidence::Occupant;
using evidence::WaitMode;

/// What of the work tells it in one share. Empty: nothing.
struct WorkSigns {
  /// As the stack has it.
  std::string_view function;
  std::string_view file;

  [[nodiscard]] bool any() const { return !function.empty() || !file.empty(); }
};

WorkSigns signs_of(const Context& context, const KernelWork& work, const Share& share) {
  WorkSigns signs;
  const Occupant* occupant = occupant_of(context.evidence, share);
  if (occupant == nullptr || !share.mode || std::find(work.modes.begin(), work.modes.end(), *share.mode) == work.modes.end()) {
    return signs;
  }
  if (occupant->syscall_number && evidence::syscall_reads_file(*occupant->syscall_number)) {
    const bool reads = std::any_of(work.files.begin(), work.files.end(),
                                   [&](std::string_view end) { return std::string_view(occupant->file).ends_with(end); });
    signs.file = reads ? std::string_view(occupant->file) : std::string_view{};
  }
  if (const std::vector<std::string>* frames = context.stacks.frames(occupant->stack_id)) {
    const auto found = std::find_if(frames->begin(), frames->end(),
                                    [&](const std::string& frame) { return is_function_of(work, function_name(frame)); });
    signs.function = found == frames->end() ? std::string_view{} : function_name(*found);
  }
  return signs;
}

template <typename Key>
Key longest_of(const std::map<Key, std::int64_t>& amounts) {
  return std::max_element(amounts.begin(), amounts.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
}

std::string_view effect_of(WaitMode mode) {
  switch (mode) {
    case WaitMode::hard_irqs_off:
      return "with interrupts off";
    case WaitMode::bh_off:
      return "with bottom halves off";
    case WaitMode::ksoftirqd_delayed:
      return "and keeps ksoftirqd waiting";
    case WaitMode::napi_thread_delayed:
      return "and keeps the NAPI thread waiting";
    case WaitMode::softirq_delayed:
      return "and keeps softirqs waiting";
    default:
      return "while received packets wait";
  }
}

/// Of the claimed time, what each sign and each mode accounts for.
struct WorkTally {
  std::map<WaitMode, std::int64_t> by_mode_ns;
  std::map<std::string_view, std::int64_t> by_function_ns;
  std::map<std::string_view, std::int64_t> by_file_ns;
};

WorkTally tally_claims(const Context& context, const KernelWork& work, const std::vector<Claim>& claims) {
  WorkTally tally;
  for (const Claim& claim : claims) {
    const Share& share = context.stalls[claim.stall].shares[claim.share];
    // A share that was claimed for having queued up has neither sign.
    const WorkSigns signs = signs_of(context, work, share);
    if (signs.any()) {
      tally.by_mode_ns[*share.mode] += claim.length_ns;
    }
    if (!signs.function.empty()) {
      tally.by_function_ns[signs.function] += claim.length_ns;
    }
    if (!signs.file.empty()) {
      tally.by_file_ns[signs.file] += claim.length_ns;
    }
  }
  return tally;
}

}  // namespace

bool is_function_of(const KernelWork& work, std::string_view function) {
  function.remove_prefix(std::min(function.find_first_not_of('_'), function.size()));
  return std::any_of(work.functions.begin(), work.functions.end(), [&](std::string_view known) {
    return known.ends_with('*') ? function.starts_with(known.substr(0, known.size() - 1)) : function == known;
  });
}

std::optional<Finding> evaluate_kernel_work(const Context& context, const KernelWork& work) {
  std::vector<Claim> claims =
      claim_where(context, [&](const Stall&, const Share& share) { return signs_of(context, work, share).any(); });
  if (claims.empty()) {
    return std::nullopt;
  }
  const WorkTally tally = tally_claims(context, work, claims);
  const std::string where = working_in(context, claims);
  Finding finding = finding_by_stack(context, std::move(claims));
  finding.cause = fmt::format("{} {} {}: up to {}{}{}", name_suspects(suspects(context, finding.claims)), work.doing,
                              effect_of(longest_of(tally.by_mode_ns)), base::format_duration(longest_claim_ns(finding.claims)),
                              where.empty() ? "" : " ", where);
  const std::string seen = of_stalls(stall_count(finding.claims), context);
  if (!tally.by_file_ns.empty()) {
    finding.evidence_for.push_back(fmt::format("{} was being read in {}", longest_of(tally.by_file_ns), seen));
  }
  if (!tally.by_function_ns.empty()) {
    finding.evidence_for.push_back(fmt::format("the kernel stack is inside {}{}", longest_of(tally.by_function_ns),
                                               tally.by_file_ns.empty() ? " in " + seen : std::string{}));
  }
  finding.other_causes = other_causes(context, {Check::napi_budget, Check::other_vectors, Check::steal, Check::prober});
  if (work.add_details != nullptr) {
    work.add_details(context, finding);
  }
  finding.next_steps.insert(finding.next_steps.end(), work.next_steps.begin(), work.next_steps.end());
  finding.next_steps.push_back(fmt::format("read docs/rules/{}.md", work.id));
  return finding;
}

}  // namespace stallscope::diagnose::rules
