// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace stallscope::host {

/// The whole of `text` as a number; nothing if any of it is something else or it does not fit.
template <typename Number>
[[nodiscard]] std::optional<Number> parse_number(std::string_view text, int number_base = 10) {
  Number value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, number_base);
  if (text.empty() || error != std::errc{} || stop != end) {
    return std::nullopt;
  }
  return value;
}

}  // namespace stallscope::host
