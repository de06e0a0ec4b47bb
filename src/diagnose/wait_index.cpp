// SPDX-License-Identifier: Apache-2.0
#include "diagnose/wait_index.h"

#include <algorithm>
#include <tuple>

namespace stallscope::diagnose {

WaitIndex::WaitIndex(const evidence::Evidence& evidence, const TimeWindow& window) {
  for (std::size_t index = 0; index < evidence.waits.size(); ++index) {
    const evidence::WaitRecord& wait = evidence.waits[index];
    if (!window.contains(wait.start_ns, wait.end_ns) || wait.length_ns() == 0) {
      ++unusable_count_;
      continue;
    }
    const Entry entry{wait.start_ns, wait.end_ns, 0, index};
    all_.push_back(entry);
    by_cpu_[wait.cpu].push_back(entry);
  }
  order(all_);
  for (auto& [cpu, entries] : by_cpu_) {
    order(entries);
  }
}

void WaitIndex::order(Entries& entries) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::tie(a.start_ns, a.wait) < std::tie(b.start_ns, b.wait); });
  std::int64_t latest_end_ns = 0;
  for (Entry& entry : entries) {
    latest_end_ns = std::max(latest_end_ns, entry.end_ns);
    entry.latest_end_ns = latest_end_ns;
  }
}

std::vector<std::size_t> WaitIndex::find(const Entries& entries, std::int64_t from_ns, std::int64_t to_ns) {
  std::vector<std::size_t> found;
  auto entry = std::lower_bound(entries.begin(), entries.end(), to_ns,
                                [](const Entry& candidate, std::int64_t time_ns) { return candidate.start_ns < time_ns; });
  while (entry != entries.begin()) {
    --entry;
    if (entry->latest_end_ns <= from_ns) {
      break;
    }
    if (entry->end_ns > from_ns) {
      found.push_back(entry->wait);
    }
  }
  std::reverse(found.begin(), found.end());
  return found;
}

std::vector<std::size_t> WaitIndex::overlapping(std::int32_t cpu, std::int64_t from_ns, std::int64_t to_ns) const {
  const auto entries = by_cpu_.find(cpu);
  return entries == by_cpu_.end() ? std::vector<std::size_t>{} : find(entries->second, from_ns, to_ns);
}

std::vector<std::size_t> WaitIndex::overlapping(std::int64_t from_ns, std::int64_t to_ns) const {
  return find(all_, from_ns, to_ns);
}

std::vector<std::size_t> WaitIndex::all() const {
  std::vector<std::size_t> waits;
  waits.reserve(all_.size());
  for (const Entry& entry : all_) {
    waits.push_back(entry.wait);
  }
  return waits;
}

}  // namespace stallscope::diagnose
