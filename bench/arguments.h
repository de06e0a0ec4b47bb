// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace stallscope::bench {

/// An argument that is a whole number of 0 or more. Ends the program where it is not.
inline std::int64_t whole_number(std::string_view text) {
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || rest != end || value < 0) {
    fmt::print(stderr, "'{}' is not a whole number\n", text);
    std::exit(EXIT_FAILURE);
  }
  return value;
}

inline int small_number(std::string_view text) {
  return static_cast<int>(whole_number(text));
}

}  // namespace stallscope::bench
