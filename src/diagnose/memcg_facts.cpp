// SPDX-License-Identifier: Apache-2.0
#include "diagnose/memcg_facts.h"

#include <algorithm>

#include "diagnose/arithmetic.h"

namespace stallscope::diagnose {

MemcgCounts memcg_counts(const evidence::Evidence& evidence) {
  MemcgCounts counts;
  if (!evidence.memcg_census) {
    return counts;
  }
  const evidence::MemcgCensusRecord& census = *evidence.memcg_census;
  counts.total = census.kernel_total;
  if (!counts.total && census.walked_live && census.walked_dying) {
    counts.total = saturating_add(*census.walked_live, *census.walked_dying);
  }
  if (census.kernel_dying) {
    counts.dying = census.kernel_dying;
  } else if (census.kernel_total && census.visible) {
    counts.dying = std::max<std::int64_t>(0, saturating_subtract(*census.kernel_total, *census.visible));
  } else {
    counts.dying = census.walked_dying;
  }
  return counts;
}

}  // namespace stallscope::diagnose
