// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>

#include "base/units.h"
#include "diagnose/arithmetic.h"
#include "diagnose/rules/common.h"

namespace stallscope::diagnose::rules {
namespace {

std::map<std::int32_t, std::int64_t> increases(const evidence::Evidence& evidence, std::string_view name) {
  std::map<std::int32_t, std::int64_t> by_cpu;
  for (const evidence::CounterRecord& counter : evidence.counters) {
    const std::int64_t increase = saturating_subtract(counter.after, counter.before);
    if (counter.name == name && increase > 0) {
      by_cpu[counter.cpu] = increase;
    }
  }
  return by_cpu;
}

}  // namespace

std::optional<Finding> backlog_drops(const Context& context) {
  const std::map<std::int32_t, std::int64_t> dropped = increases(context.evidence, "softnet.dropped");
  if (dropped.empty()) {
    return std::nullopt;
  }
  const std::map<std::int32_t, std::int64_t> processed = increases(context.evidence, "softnet.received");
  Finding finding;
  finding.confidence = Confidence::high;
  finding.no_stall = "these packets were lost, none of them is late";
  std::int64_t total = 0;
  std::string cpus;
  for (const auto& [cpu, count] : dropped) {
    total = saturating_add(total, count);
    cpus += fmt::format("{}{}", cpus.empty() ? "" : ", ", cpu);
    const auto received = processed.find(cpu);
    finding.evidence_for.push_back(received == processed.end()
                                       ? fmt::format("CPU {} dropped {}", cpu, base::format_count(count))
                                       : fmt::format("CPU {} dropped {} and processed {}", cpu, base::format_count(count),
                                                     base::format_count(received->second)));
  }
  finding.cause = fmt::format("the kernel dropped {} received packet{}: more came at once than the backlog of CPU{} {} takes",
                              base::format_count(total), total == 1 ? "" : "s", dropped.size() == 1 ? "" : "s", cpus);
  if (context.probes.lost_count > 0) {
    finding.evidence_for.push_back(fmt::format("{} probe{} lost as well; whether there is not recorded",
                                               base::format_count(context.probes.lost_count),
                                               context.probes.lost_count == 1 ? " was" : "s were"));
  }
  finding.other_causes = other_causes(context, {Check::napi_budget, Check::prober});
  finding.next_steps.emplace_back(
      "find who sends such bursts; spread them over more CPUs: RPS (rps_cpus), more RX queues (ethtool -L)");
  finding.next_steps.emplace_back(
      "raise net.core.netdev_max_backlog if short bursts are what is lost: a longer queue makes up for them, and what waits in it "
      "is late");
  finding.next_steps.emplace_back("read docs/rules/backlog-drops.md");
  return finding;
}

}  // namespace stallscope::diagnose::rules
