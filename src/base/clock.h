// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace stallscope::base {

/// CLOCK_MONOTONIC in nanoseconds: the clock of every time in a bundle, and of bpf_ktime_get_ns.
[[nodiscard]] std::int64_t monotonic_ns();
/// CLOCK_REALTIME in nanoseconds since 1970, UTC.
[[nodiscard]] std::int64_t realtime_ns();
/// realtime - monotonic, taken from the closest of a few readings. Changes when the wall clock is stepped.
[[nodiscard]] std::int64_t realtime_offset_ns();

/// "03:04:11.120" in UTC.
[[nodiscard]] std::string time_of_day(std::int64_t realtime_ns);
/// "20261123T0304" in UTC: sorts by time and is safe in a file name.
[[nodiscard]] std::string compact_date(std::int64_t realtime_ns);
/// "2026-11-23T03:04:11.120Z".
[[nodiscard]] std::string iso_time(std::int64_t realtime_ns);

}  // namespace stallscope::base
