// SPDX-License-Identifier: Apache-2.0
#include "diagnose/memcg_facts.h"

#include <algorithm>

#include "diagnose/arithmetic.h"

namespace stallscope::diagnose {

namespace {

/// A count that cannot be one is not known.
std::optional<std::int64_t> sane(std::optional<std::int64_t> count) {
  return count && *count >= 0 ? count : std::nullopt;
}

}  // namespace

MemcgCounts memcg_counts(const evidence::Evidence& evidence) {
  MemcgCounts counts;
  if (!evidence.memcg_census) {
    return counts;
  }
  const evidence::MemcgCensusRecord& census = *evidence.memcg_census;
  counts.total = sane(census.kernel_total);
  if (!counts.total && sane(census.walked_live) && sane(census.walked_dying)) {
    counts.total = saturating_add(*census.walked_live, *census.walked_dying);
  }
  if (sane(census.kernel_dying)) {
    counts.dying = census.kernel_dying;
  } else if (sane(census.kernel_total) && sane(census.visible)) {
    counts.dying = std::max<std::int64_t>(0, *census.kernel_total - *census.visible);
  } else {
    counts.dying = sane(census.walked_dying);
  }
  return counts;
}

}  // namespace stallscope::diagnose
