// SPDX-License-Identifier: Apache-2.0
#include "shape/lateness.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "shape/statistics.h"

namespace stallscope::shape {

namespace {

/// Median and limit of these RTTs, taken for granted that most of them are on time. Overwrites them.
Baseline measure(std::span<std::int64_t> rtts) {
  Baseline baseline;
  baseline.rtt_ns = median_in_place(rtts);
  for (std::int64_t& rtt : rtts) {
    rtt = std::abs(rtt - baseline.rtt_ns);
  }
  baseline.noise_ns = std::llround(static_cast<double>(median_in_place(rtts)) * mad_to_standard_deviation);
  baseline.late_after_ns = baseline.rtt_ns + std::max(late_floor_ns, late_noise_factor * baseline.noise_ns);
  return baseline;
}

}  // namespace

Baseline measure_baseline(std::span<std::int64_t> rtts) {
  const std::int64_t middle_ns = median_in_place(rtts);
  // What is left of the middle is no later than it.
  const auto lower = rtts.first((rtts.size() + 1) / 2);
  const std::int64_t quartile_ns = median_in_place(lower);
  if (middle_ns - quartile_ns > late_floor_ns) {
    std::vector<std::int64_t> half(lower.begin(), lower.end());
    const Baseline of_half = measure(half);
    if (middle_ns > of_half.late_after_ns) {
      return of_half;
    }
  }
  return measure(rtts);
}

Fate judge_answer(const Baseline& baseline, std::int64_t intended_ns, std::int64_t sent_ns, std::int64_t answered_ns) {
  const std::int64_t score_ns = answered_ns - intended_ns;
  const std::int64_t rtt_ns = answered_ns - sent_ns;
  if (score_ns <= baseline.late_after_ns) {
    return Fate::on_time;
  }
  // A reply that took too long by itself was held, however late its packet had been sent.
  const std::int64_t lateness_ns = score_ns - baseline.rtt_ns;
  const bool mostly_own = sent_ns - intended_ns > lateness_ns / 2 && rtt_ns <= baseline.late_after_ns;
  return mostly_own ? Fate::own_late : Fate::late;
}

}  // namespace stallscope::shape
