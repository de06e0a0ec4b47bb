// SPDX-License-Identifier: Apache-2.0
#include "base/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <utility>

namespace stallscope::base {
namespace {

struct Unit {
  std::string_view suffix;
  std::int64_t factor_ns;
};
// Longer suffixes first: "ms" must not be read as "s".
constexpr std::array<Unit, 6> units = {
    {{"ns", 1}, {"us", ns_per_us}, {"ms", ns_per_ms}, {"s", ns_per_s}, {"m", 60 * ns_per_s}, {"h", 3600 * ns_per_s}}};

std::string trim_zeroes(double value, std::string_view unit) {
  if (value >= 100) {
    return fmt::format("{:.0f} {}", value, unit);
  }
  std::string digits = fmt::format("{:.1f}", value);
  if (digits.ends_with(".0") && value >= 10) {
    digits.resize(digits.size() - 2);
  }
  return digits + " " + std::string(unit);
}

}  // namespace

Result<std::int64_t> parse_duration(std::string_view option, std::string_view text, std::int64_t minimum_ns,
                                    std::int64_t maximum_ns) {
  const auto refuse = [&](std::string reason) {
    return Error{"use", fmt::format("{} {}", option, text), std::move(reason),
                 "Give a number and a unit, such as 500ms, 20s or 2m."};
  };
  std::int64_t factor_ns = ns_per_s;
  std::string_view digits = text;
  for (const Unit& unit : units) {
    if (text.ends_with(unit.suffix)) {
      factor_ns = unit.factor_ns;
      digits.remove_suffix(unit.suffix.size());
      break;
    }
  }
  double value = 0;
  const char* end = digits.data() + digits.size();
  const auto [parsed_to, error] = std::from_chars(digits.data(), end, value);
  if (digits.empty() || error != std::errc{} || parsed_to != end || !std::isfinite(value)) {
    return refuse("not a duration");
  }
  const double total_ns = value * static_cast<double>(factor_ns);
  if (total_ns < static_cast<double>(minimum_ns) || total_ns > static_cast<double>(maximum_ns)) {
    return refuse(fmt::format("must be from {} to {}", format_duration(minimum_ns), format_duration(maximum_ns)));
  }
  return std::llround(total_ns);
}

std::string format_duration(std::int64_t duration_ns) {
  const auto value = static_cast<double>(duration_ns);
  const double size = std::fabs(value);
  if (size < static_cast<double>(ns_per_us)) {
    return fmt::format("{} ns", duration_ns);
  }
  if (size < static_cast<double>(ns_per_ms)) {
    return trim_zeroes(value / static_cast<double>(ns_per_us), "us");
  }
  if (size < static_cast<double>(ns_per_s)) {
    return trim_zeroes(value / static_cast<double>(ns_per_ms), "ms");
  }
  if (size < 120.0 * static_cast<double>(ns_per_s)) {
    return trim_zeroes(value / static_cast<double>(ns_per_s), "s");
  }
  if (size < 7200.0 * static_cast<double>(ns_per_s)) {
    return trim_zeroes(value / (60.0 * static_cast<double>(ns_per_s)), "min");
  }
  return trim_zeroes(value / (3600.0 * static_cast<double>(ns_per_s)), "h");
}

std::string format_ms(std::int64_t duration_ns) {
  return fmt::format("{:.1f}", static_cast<double>(duration_ns) / static_cast<double>(ns_per_ms));
}

std::string format_count(std::int64_t count) {
  std::string digits = fmt::format("{}", count < 0 ? -count : count);
  for (std::ptrdiff_t position = static_cast<std::ptrdiff_t>(digits.size()) - 3; position > 0; position -= 3) {
    digits.insert(static_cast<std::size_t>(position), ",");
  }
  return count < 0 ? "-" + digits : digits;
}

std::string format_bytes(std::int64_t bytes) {
  constexpr std::array<std::string_view, 5> names = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t step = 0;
  while (std::fabs(value) >= 1024.0 && step + 1 < names.size()) {
    value /= 1024.0;
    ++step;
  }
  if (step == 0) {
    return fmt::format("{} bytes", bytes);
  }
  return value < 10 ? fmt::format("{:.1f} {}", value, names.at(step)) : fmt::format("{:.0f} {}", value, names.at(step));
}

std::string format_percent(double fraction) {
  const double percent = fraction * 100.0;
  if (percent < 100.0 && percent > 99.0) {
    return fmt::format("{:.1f} %", std::floor(percent * 10.0) / 10.0);
  }
  return percent < 10.0 && percent > 0.0 ? fmt::format("{:.1f} %", percent) : fmt::format("{:.0f} %", percent);
}

}  // namespace stallscope::base
