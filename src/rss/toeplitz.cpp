// SPDX-License-Identifier: Apache-2.0
#include "rss/toeplitz.h"

#include <fmt/format.h>

#include <algorithm>

namespace stallscope::rss {
namespace {

constexpr std::size_t window_bytes = 4;
constexpr std::size_t byte_bits = 8;

/// The 32 bits of the key that begin with bit `bit`, the highest of the first byte being bit 0.
std::uint32_t key_window(std::span<const std::uint8_t> key, std::size_t bit) {
  std::uint64_t five_bytes = 0;
  for (std::size_t index = 0; index <= window_bytes; ++index) {
    const std::size_t at = bit / byte_bits + index;
    five_bytes = (five_bytes << byte_bits) | (at < key.size() ? key[at] : 0U);
  }
  return static_cast<std::uint32_t>(five_bytes >> (byte_bits - bit % byte_bits));
}

}  // namespace

base::Result<Toeplitz> Toeplitz::make(std::span<const std::uint8_t> key) {
  if (key.size() <= window_bytes) {
    return base::Error{"hash with", "the key",
                       fmt::format("it has {} bytes, and the hash needs more than {}", key.size(), window_bytes), ""};
  }
  Toeplitz toeplitz;
  toeplitz.tables_.resize(std::min(key.size() - window_bytes, max_input_bytes));
  for (std::size_t at = 0; at < toeplitz.tables_.size(); ++at) {
    auto& table = toeplitz.tables_[at];
    table[0] = 0;
    for (std::size_t bit = 0; bit < byte_bits; ++bit) {
      // The hash is linear: values with a new highest bit are those without it, combined with that bit's window.
      const std::size_t power = std::size_t{1} << bit;
      const std::uint32_t window = key_window(key, at * byte_bits + (byte_bits - 1 - bit));
      for (std::size_t value = 0; value < power; ++value) {
        table[power + value] = table[value] ^ window;
      }
    }
  }
  return toeplitz;
}

}  // namespace stallscope::rss
