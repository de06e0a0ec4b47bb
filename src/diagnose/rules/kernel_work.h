// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "diagnose/rules/common.h"

// Causes that differ only in which functions of the kernel tell them, in wording and in remedy. Each is a row of a table
// (kernel_work_table.h for one), and a rule of its own by rule_of<>.
namespace stallscope::diagnose::rules {

/// The modes of work that somebody did on a CPU while it could not receive: those in which a holder's stack is the cause.
inline constexpr std::array<evidence::WaitMode, 5> holding_modes = {
    evidence::WaitMode::hard_irqs_off, evidence::WaitMode::bh_off, evidence::WaitMode::softirq_delayed,
    evidence::WaitMode::ksoftirqd_delayed, evidence::WaitMode::napi_thread_delayed};

struct KernelWork {
  /// See Rule.
  std::string_view id;
  std::string_view title;
  /// Functions of which one in the holder's stack tells it, without leading underscores; one that ends in '*' is a prefix.
  /// Names of all kernels together: none of them may mean something else on another.
  std::span<const std::string_view> functions;
  /// Ends of paths ("/slabinfo"): whoever reads such a file is taken for it without a stack as well. Mostly empty.
  std::span<const std::string_view> files = {};
  /// Modes whose shares it may claim.
  std::span<const evidence::WaitMode> modes = holding_modes;
  /// What the holder did, as it goes on after its name: "frees removed memory cgroups".
  std::string_view doing;
  /// Whole steps, the gentlest first. Which page to read is added.
  std::span<const std::string_view> next_steps;
  /// Adds what only this cause has to say: to evidence_for, or before next_steps. May be null.
  void (*add_details)(const Context& context, Finding& finding) = nullptr;
};

/// Claims the open shares of its modes whose holder's stack or file tells this work. Confidence as by finding_by_stack.
[[nodiscard]] std::optional<Finding> evaluate_kernel_work(const Context& context, const KernelWork& work);

/// Whether `function`, as function_name() gives it, is among the work's.
[[nodiscard]] bool is_function_of(const KernelWork& work, std::string_view function);

template <const KernelWork& work>
[[nodiscard]] constexpr Rule rule_of() {
  return {work.id, work.title, [](const Context& context) { return evaluate_kernel_work(context, work); }};
}

}  // namespace stallscope::diagnose::rules
