// SPDX-License-Identifier: Apache-2.0
#include "diagnose/rules/flush_sections.h"

#include <algorithm>

#include "diagnose/arithmetic.h"

namespace stallscope::diagnose::rules {

FlushSections::FlushSections(const evidence::Evidence& evidence, const TimeWindow& window)
    : run_start_ns_(evidence.run.start_ns), run_end_ns_(evidence.run.end_ns) {
  std::map<std::int32_t, std::vector<Section>> sections;
  for (const evidence::FlushRecord& flush : evidence.flushes) {
    if (window.contains(flush.start_ns, flush.end_ns) && flush.end_ns - flush.start_ns >= long_section_ns) {
      sections[flush.cpu].push_back({flush.start_ns, flush.end_ns});
    }
  }
  for (auto& [cpu, of_cpu] : sections) {
    std::sort(of_cpu.begin(), of_cpu.end(), [](const Section& a, const Section& b) { return a.start_ns < b.start_ns; });
    std::vector<Section>& disjoint = by_cpu_[cpu];
    for (const Section& section : of_cpu) {
      if (!disjoint.empty() && section.start_ns <= disjoint.back().end_ns) {
        disjoint.back().end_ns = std::max(disjoint.back().end_ns, section.end_ns);
      } else {
        disjoint.push_back(section);
      }
    }
  }
}

std::int64_t FlushSections::covered_ns(std::int32_t cpu, std::int64_t from_ns, std::int64_t to_ns) const {
  const auto of_cpu = by_cpu_.find(cpu);
  if (of_cpu == by_cpu_.end()) {
    return 0;
  }
  auto section = std::lower_bound(of_cpu->second.begin(), of_cpu->second.end(), from_ns,
                                  [](const Section& candidate, std::int64_t time_ns) { return candidate.end_ns <= time_ns; });
  std::int64_t covered_ns = 0;
  for (; section != of_cpu->second.end() && section->start_ns < to_ns; ++section) {
    covered_ns += overlap_ns(section->start_ns, section->end_ns, from_ns, to_ns);
  }
  return covered_ns;
}

double FlushSections::chance_of_overlap(std::int32_t cpu, std::int64_t length_ns) const {
  const auto of_cpu = by_cpu_.find(cpu);
  if (of_cpu == by_cpu_.end()) {
    return 0;
  }
  // The interval may start anywhere from the start of the recording to this.
  const std::int64_t last_start_ns = saturating_subtract(run_end_ns_, length_ns);
  if (last_start_ns <= run_start_ns_) {
    return 1;
  }
  // Starts in (start - length, end) of a section overlap it; those stretches may overlap each other.
  std::int64_t overlapping_starts_ns = 0;
  std::int64_t counted_to_ns = run_start_ns_;
  for (const Section& section : of_cpu->second) {
    const std::int64_t from_ns = std::max(section.start_ns - length_ns, counted_to_ns);
    const std::int64_t to_ns = std::min(section.end_ns, last_start_ns);
    if (from_ns < to_ns) {
      overlapping_starts_ns += to_ns - from_ns;
      counted_to_ns = to_ns;
    }
  }
  return fraction(overlapping_starts_ns, saturating_subtract(last_start_ns, run_start_ns_));
}

}  // namespace stallscope::diagnose::rules
