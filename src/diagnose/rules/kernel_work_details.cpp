// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.h"
#include "diagnose/memcg_facts.h"
#include "diagnose/rules/kernel_work_table.h"

namespace stallscope::diagnose::rules {

void add_memcg_counts(const Context& context, Finding& finding) {
  const MemcgCounts counts = memcg_counts(context.evidence);
  if (counts.dying && counts.total) {
    finding.evidence_for.push_back(fmt::format("{} of {} memory cgroups were dying when they were counted, after the recording",
                                               base::format_count(*counts.dying), base::format_count(*counts.total)));
  }
}

void add_reclaiming_cgroup(const Context& context, Finding& finding) {
  const std::vector<Suspect> found = suspects(context, finding.claims);
  if (!found.empty() && !found.front().occupant->cgroup.empty()) {
    finding.evidence_for.push_back(
        fmt::format("{} is in cgroup {}", task_name(*found.front().occupant), found.front().occupant->cgroup));
  }
}

}  // namespace stallscope::diagnose::rules
