// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

// Numbers in packets and files, which lie at any address and in either order.
namespace stallscope::capture {

using Bytes = std::span<const std::uint8_t>;

template <typename Number>
[[nodiscard]] inline Number load(const std::uint8_t* at) {
  Number value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

[[nodiscard]] inline std::uint16_t swapped(std::uint16_t value) {
  return __builtin_bswap16(value);
}
[[nodiscard]] inline std::uint32_t swapped(std::uint32_t value) {
  return __builtin_bswap32(value);
}
[[nodiscard]] inline std::uint64_t swapped(std::uint64_t value) {
  return __builtin_bswap64(value);
}

/// In network order.
template <typename Number>
[[nodiscard]] inline Number load_be(const std::uint8_t* at) {
  const auto value = load<Number>(at);
  return std::endian::native == std::endian::big ? value : swapped(value);
}

/// In the order of the host that wrote a file: `swap` where that is not ours.
template <typename Number>
[[nodiscard]] inline Number load_file(const std::uint8_t* at, bool swap) {
  const auto value = load<Number>(at);
  return swap ? swapped(value) : value;
}

}  // namespace stallscope::capture
