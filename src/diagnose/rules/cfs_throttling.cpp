// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/units.h"
#include "diagnose/episodes.h"
#include "diagnose/rules/common.h"
#include "evidence/containers.h"

namespace stallscope::diagnose::rules {
namespace {

using evidence::ThrottledCgroupRecord;

/// Shorter throttling makes no answer late that this report would call late.
constexpr std::int64_t notable_ns = late_floor_ns;
/// In fewer periods than this a server is throttled by a burst now and then; whether that met a request is not known.
constexpr double frequent_part = 0.1;
constexpr std::size_t most_lines = 5;

/// Per throttled period. The kernel adds up its CPUs; on one of them it cannot be more than the period.
std::int64_t average_ns(const ThrottledCgroupRecord& cgroup) {
  return cgroup.throttled_ns / std::max<std::int64_t>(cgroup.throttled_count, 1);
}

bool frequent(const ThrottledCgroupRecord& cgroup) {
  return static_cast<double>(cgroup.throttled_count) >= frequent_part * static_cast<double>(cgroup.period_count);
}

std::string how_long(const ThrottledCgroupRecord& cgroup) {
  return average_ns(cgroup) > cgroup.period_ns ? fmt::format("up to {} each", base::format_duration(cgroup.period_ns))
                                               : fmt::format("{} each on average", base::format_duration(average_ns(cgroup)));
}

std::string how_often(const ThrottledCgroupRecord& cgroup) {
  return fmt::format("{} of {} period{}", base::format_count(cgroup.throttled_count), base::format_count(cgroup.period_count),
                     cgroup.period_count == 1 ? "" : "s");
}

std::string server_name(const ThrottledCgroupRecord& cgroup) {
  return fmt::format("{} (pid {})", cgroup.comm, cgroup.pid);
}

std::string limit_line(const ThrottledCgroupRecord& cgroup) {
  const std::string owner = evidence::describe_owner(evidence::cgroup_owner(cgroup.cgroup));
  return fmt::format("cgroup {}{}: may run {} in every {}; throttled in {}, for {} in all{}", cgroup.cgroup,
                     owner.empty() ? "" : fmt::format(" ({})", owner), base::format_duration(cgroup.quota_ns),
                     base::format_duration(cgroup.period_ns), how_often(cgroup), base::format_duration(cgroup.throttled_ns),
                     average_ns(cgroup) > cgroup.period_ns ? ", summed over its CPUs" : "");
}

std::string doubt(const ThrottledCgroupRecord& worst) {
  if (!frequent(worst)) {
    return "it was throttled seldom; whether a request came meanwhile is not known";
  }
  return worst.process_count > 1
             ? fmt::format("{} processes with sockets share that limit", base::format_count(worst.process_count))
             : "";
}

}  // namespace

std::optional<Finding> cfs_throttling(const Context& context) {
  std::vector<const ThrottledCgroupRecord*> throttled;
  for (const ThrottledCgroupRecord& cgroup : context.evidence.throttled_cgroups) {
    if (cgroup.throttled_count > 0 && average_ns(cgroup) >= notable_ns) {
      throttled.push_back(&cgroup);
    }
  }
  if (throttled.empty()) {
    return std::nullopt;
  }
  std::stable_sort(throttled.begin(), throttled.end(), [](const ThrottledCgroupRecord* a, const ThrottledCgroupRecord* b) {
    return a->throttled_ns > b->throttled_ns;
  });
  const ThrottledCgroupRecord& worst = *throttled.front();
  Finding finding;
  finding.no_stall = "the packet path is innocent, a server had used up its CPU quota";
  finding.cause = fmt::format("{}, whose socket is {} {}, was throttled by its CPU quota in {}, {}", server_name(worst),
                              worst.protocol, worst.local_address, how_often(worst), how_long(worst));
  finding.confidence_reason = doubt(worst);
  finding.confidence = finding.confidence_reason.empty() ? Confidence::high : Confidence::medium;
  finding.evidence_for.push_back(limit_line(worst));
  for (std::size_t index = 1; index < std::min(throttled.size(), most_lines); ++index) {
    finding.evidence_for.push_back(fmt::format("{} {} of {}, {}", throttled[index]->protocol, throttled[index]->local_address,
                                               server_name(*throttled[index]), limit_line(*throttled[index])));
  }
  if (throttled.size() > most_lines) {
    finding.evidence_for.push_back(
        fmt::format("and {} more cgroups", base::format_count(static_cast<std::int64_t>(throttled.size() - most_lines))));
  }
  finding.other_causes = other_causes(context, {Check::prober});
  finding.next_steps.push_back(
      fmt::format("give it more CPU time (cpu.max, or cpu.cfs_quota_us on cgroup v1; a pod's limits.cpu, a unit's CPUQuota=), or "
                  "find what {} spends it on",
                  worst.comm));
  finding.next_steps.emplace_back("read docs/rules/cfs-throttling.md");
  return finding;
}

}  // namespace stallscope::diagnose::rules
