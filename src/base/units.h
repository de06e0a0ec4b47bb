// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace stallscope::base {

inline constexpr std::int64_t ns_per_us = 1'000;
inline constexpr std::int64_t ns_per_ms = 1'000'000;
inline constexpr std::int64_t ns_per_s = 1'000'000'000;

/// Parses "20s", "500ms", "100us", "2m", "1h" or a bare number of seconds; decimals are allowed. The error names `option`.
/// Values outside [minimum_ns, maximum_ns] are refused with the allowed range.
[[nodiscard]] Result<std::int64_t> parse_duration(std::string_view option, std::string_view text, std::int64_t minimum_ns,
                                                  std::int64_t maximum_ns);
/// "98.7 ms", "2.0 us", "20 s": three significant digits at most, in the largest unit that keeps the value above one.
[[nodiscard]] std::string format_duration(std::int64_t duration_ns);
/// "98.7": milliseconds with one decimal, for columns whose heading or neighbour names the unit.
[[nodiscard]] std::string format_ms(std::int64_t duration_ns);
/// "50,006"
[[nodiscard]] std::string format_count(std::int64_t count);
/// "195 MiB"
[[nodiscard]] std::string format_bytes(std::int64_t bytes);
/// "97 %", "2.1 %": one decimal below 10 %, none from there on; never rounds up to 100 %.
[[nodiscard]] std::string format_percent(double fraction);

}  // namespace stallscope::base
