// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "diagnose/diagnosis.h"
#include "diagnose/stacks.h"
#include "diagnose/time_window.h"

namespace stallscope::diagnose::rules {

/// What a rule may look at. Rules run one after the other; a share that one has claimed is not open to the next.
struct Context {
  const evidence::Evidence& evidence;
  const ProbeSummary& probes;
  const std::vector<Stall>& stalls;
  std::int64_t stalled_ns = 0;
  const StackTable& stacks;
  const TimeWindow& window;
  /// By stall and share.
  std::vector<std::vector<bool>> claimed;
};

struct Rule {
  /// Kebab-case; also the name of the rule's page in docs/rules.
  std::string_view id;
  std::string_view title;
  /// Pure. Claims only shares that are open; nothing when the rule does not apply.
  std::optional<Finding> (*evaluate)(const Context& context);
};

/// Specific before general: the order in which they are asked.
[[nodiscard]] std::span<const Rule> all_rules();

[[nodiscard]] std::optional<Finding> memcg_stat_flush(const Context& context);
[[nodiscard]] std::optional<Finding> vcpu_stolen(const Context& context);
[[nodiscard]] std::optional<Finding> softirq_vector(const Context& context);
[[nodiscard]] std::optional<Finding> slow_xdp(const Context& context);
[[nodiscard]] std::optional<Finding> slow_tc(const Context& context);
[[nodiscard]] std::optional<Finding> netfilter_rules(const Context& context);
[[nodiscard]] std::optional<Finding> net_rx_work(const Context& context);
[[nodiscard]] std::optional<Finding> backlog_drops(const Context& context);
[[nodiscard]] std::optional<Finding> accept_queue(const Context& context);
[[nodiscard]] std::optional<Finding> socket_unread(const Context& context);
[[nodiscard]] std::optional<Finding> cfs_throttling(const Context& context);
[[nodiscard]] std::optional<Finding> napi_budget(const Context& context);
[[nodiscard]] std::optional<Finding> bh_off_section(const Context& context);
[[nodiscard]] std::optional<Finding> thread_delay(const Context& context);
[[nodiscard]] std::optional<Finding> irq_off_section(const Context& context);
[[nodiscard]] std::optional<Finding> unexplained(const Context& context);

/// Asks every rule in turn and keeps the books of what is claimed. What explains most comes first, what stays unexplained last.
[[nodiscard]] std::vector<Finding> evaluate_rules(Context context);

}  // namespace stallscope::diagnose::rules
