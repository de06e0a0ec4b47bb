// SPDX-License-Identifier: Apache-2.0
#include "base/clock_fit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace stallscope::base {
namespace {

/// Of so many stretches of the recording the tightest bounds are compared: their number bounds the pairs.
constexpr std::int64_t stretches = 64;
/// No quartz of a working host is further off than a few of 10,000 (the kernel's clock discipline allows 500 ppm).
constexpr double largest_drift = 0.0005;
constexpr std::size_t fewest_stretches_for_drift = 4;

struct Tightest {
  std::int64_t at_ns = 0;
  std::int64_t low_ns = std::numeric_limits<std::int64_t>::min();
  std::int64_t high_ns = std::numeric_limits<std::int64_t>::max();

  void take(const ClockBound& bound) {
    low_ns = std::max(low_ns, bound.low_ns);
    high_ns = std::min(high_ns, bound.high_ns);
    at_ns = bound.at_ns;
  }
  [[nodiscard]] double middle_ns() const { return (static_cast<double>(low_ns) + static_cast<double>(high_ns)) / 2; }
};

/// The median of the slopes between all pairs of stretches (P. K. Sen, J. Am. Stat. Assoc. 63, 1968): a stretch in which every
/// packet was held one way only does not turn the line.
double median_slope(const std::vector<Tightest>& points) {
  std::vector<double> slopes;
  for (std::size_t i = 0; i < points.size(); ++i) {
    for (std::size_t j = i + 1; j < points.size(); ++j) {
      const auto run_ns = static_cast<double>(points[j].at_ns - points[i].at_ns);
      if (run_ns > 0) {
        slopes.push_back((points[j].middle_ns() - points[i].middle_ns()) / run_ns);
      }
    }
  }
  if (slopes.empty()) {
    return 0;
  }
  const auto middle = slopes.begin() + static_cast<std::ptrdiff_t>(slopes.size() / 2);
  std::nth_element(slopes.begin(), middle, slopes.end());
  return std::clamp(*middle, -largest_drift, largest_drift);
}

double drift_of(const std::vector<ClockBound>& bounds, std::int64_t first_ns, std::int64_t last_ns) {
  const std::int64_t stretch_ns = std::max<std::int64_t>(1, (last_ns - first_ns) / stretches + 1);
  std::map<std::int64_t, Tightest> by_stretch;
  for (const ClockBound& bound : bounds) {
    by_stretch[(bound.at_ns - first_ns) / stretch_ns].take(bound);
  }
  if (by_stretch.size() < fewest_stretches_for_drift) {
    return 0;
  }
  std::vector<Tightest> points;
  points.reserve(by_stretch.size());
  for (const auto& [stretch, tightest] : by_stretch) {
    points.push_back(tightest);
  }
  return median_slope(points);
}

std::int64_t gained_ns(double drift, std::int64_t span_ns) {
  return std::llround(drift * static_cast<double>(span_ns));
}

}  // namespace

std::int64_t ClockFit::to_far(std::int64_t near_ns) const {
  return near_ns + difference_ns + gained_ns(drift, near_ns - at_ns);
}

std::int64_t ClockFit::to_near(std::int64_t far_ns) const {
  const std::int64_t since_ns = far_ns - difference_ns - at_ns;
  return at_ns + since_ns - gained_ns(drift / (1 + drift), since_ns);
}

std::optional<ClockFit> fit_clocks(const std::vector<ClockBound>& bounds) {
  if (bounds.empty()) {
    return std::nullopt;
  }
  const auto [first, last] =
      std::minmax_element(bounds.begin(), bounds.end(), [](const ClockBound& a, const ClockBound& b) { return a.at_ns < b.at_ns; });
  ClockFit fit;
  fit.at_ns = first->at_ns;
  fit.drift = drift_of(bounds, first->at_ns, last->at_ns);
  Tightest all;
  for (const ClockBound& bound : bounds) {
    const std::int64_t gain_ns = gained_ns(fit.drift, bound.at_ns - fit.at_ns);
    all.take({bound.at_ns, bound.low_ns - gain_ns, bound.high_ns - gain_ns});
  }
  fit.difference_ns = all.low_ns + ((all.high_ns - all.low_ns) / 2);
  fit.uncertainty_ns = std::abs(all.high_ns - all.low_ns) / 2;
  const auto span_ns = static_cast<double>(last->at_ns - first->at_ns);
  fit.drift_uncertainty =
      span_ns > 0 ? 2 * static_cast<double>(fit.uncertainty_ns) / span_ns : std::numeric_limits<double>::infinity();
  return fit;
}

}  // namespace stallscope::base
