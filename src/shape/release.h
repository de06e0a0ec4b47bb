// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/units.h"
#include "shape/statistics.h"

// Whether packets that were sent one after the other arrived at one moment.
namespace stallscope::shape {

enum class Release : std::uint8_t {
  /// One packet, or a fit too uncertain to tell.
  unknown,
  /// The slope is -1: they waited in one queue and left it at one moment.
  together,
  apart,
};

/// Two arrivals closer than the time between sending them divided by this came together.
inline constexpr std::int64_t together_divisor = 4;
/// ... or closer than this: a long queue takes a moment to drain (net.core.netdev_budget_usecs is 2 jiffies).
inline constexpr std::int64_t together_floor_ns = base::ns_per_ms / 2;
/// The slope may differ from -1 by this much, although a small standard error says it is not exactly -1: draining takes time.
inline constexpr double slope_tolerance = 0.05;
/// A slope whose standard error is larger says nothing about -1.
inline constexpr double slope_error_limit = 0.2;
/// By how many standard errors the slope may differ from -1.
inline constexpr double slope_error_factor = 3;

/// `fit` is that of reply time against send time; the other two are the distances between first and last, which decide where two
/// packets are all there is.
[[nodiscard]] Release judge_release(const SlopeFit& fit, std::int64_t sent_apart_ns, std::int64_t arrived_apart_ns);

}  // namespace stallscope::shape
