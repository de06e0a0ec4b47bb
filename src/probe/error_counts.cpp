// SPDX-License-Identifier: Apache-2.0
#include "probe/error_counts.h"

#include <algorithm>

#include "base/result.h"

namespace stallscope::probe {

bool ProbeError::same_kind(const ProbeError& other) const {
  return icmp == other.icmp && version == other.version && type == other.type && code == other.code &&
         error_number == other.error_number;
}

std::string ProbeError::text() const {
  return icmp ? std::string(icmp_error_name(type, code, version)) : base::errno_error("", "", error_number).reason;
}

ErrorCounts::ErrorCounts() {
  counts_.reserve(most_kinds);
}

void ErrorCounts::add(const ProbeError& error) {
  const auto known =
      std::find_if(counts_.begin(), counts_.end(), [&](const Counted& other) { return other.error.same_kind(error); });
  if (known != counts_.end()) {
    known->error.reporter = error.reporter;
    ++known->count;
  } else if (counts_.size() < most_kinds) {
    counts_.push_back({error, 1});
  } else {
    ++counts_.back().count;
  }
}

std::vector<ProbeErrorCount> ErrorCounts::all() const {
  std::vector<ProbeErrorCount> all;
  for (const Counted& counted : counts_) {
    all.push_back({counted.error.icmp, counted.error.text(), counted.error.reporter, counted.count});
  }
  return all;
}

}  // namespace stallscope::probe
