// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <fmt/format.h>

#include <ctime>
#include <limits>

#include "base/units.h"

namespace stallscope::base {
namespace {

std::int64_t read_clock(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return (static_cast<std::int64_t>(now.tv_sec) * ns_per_s) + now.tv_nsec;
}

struct UtcTime {
  std::tm fields{};
  int millisecond = 0;
};

UtcTime to_utc(std::int64_t realtime_ns_value) {
  UtcTime utc;
  const std::time_t seconds = realtime_ns_value / ns_per_s;
  gmtime_r(&seconds, &utc.fields);
  utc.millisecond = static_cast<int>(realtime_ns_value % ns_per_s / ns_per_ms);
  return utc;
}

}  // namespace

std::int64_t monotonic_ns() {
  return read_clock(CLOCK_MONOTONIC);
}

std::int64_t realtime_ns() {
  return read_clock(CLOCK_REALTIME);
}

std::int64_t realtime_offset_ns() {
  // The reader can be interrupted between two clock reads; the tightest of a few brackets is the one that was not.
  constexpr int attempts = 5;
  std::int64_t best_offset = 0;
  std::int64_t best_width = std::numeric_limits<std::int64_t>::max();
  for (int i = 0; i < attempts; ++i) {
    const std::int64_t before = monotonic_ns();
    const std::int64_t real = realtime_ns();
    const std::int64_t after = monotonic_ns();
    if (after - before < best_width) {
      best_width = after - before;
      best_offset = real - (before + ((after - before) / 2));
    }
  }
  return best_offset;
}

std::string time_of_day(std::int64_t realtime_ns) {
  const UtcTime utc = to_utc(realtime_ns);
  return fmt::format("{:02}:{:02}:{:02}.{:03}", utc.fields.tm_hour, utc.fields.tm_min, utc.fields.tm_sec, utc.millisecond);
}

std::string compact_date(std::int64_t realtime_ns) {
  const UtcTime utc = to_utc(realtime_ns);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}", utc.fields.tm_year + 1900, utc.fields.tm_mon + 1, utc.fields.tm_mday,
                     utc.fields.tm_hour, utc.fields.tm_min);
}

std::string iso_time(std::int64_t realtime_ns) {
  const UtcTime utc = to_utc(realtime_ns);
  return fmt::format("{:04}-{:02}-{:02}T{}Z", utc.fields.tm_year + 1900, utc.fields.tm_mon + 1, utc.fields.tm_mday,
                     time_of_day(realtime_ns));
}

}  // namespace stallscope::base
