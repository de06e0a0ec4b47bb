// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

// Numbers in network order. The caller has checked the length.
namespace stallscope::probe {

template <typename T>
void store_big_endian(std::span<std::byte> to, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    to[i] = static_cast<std::byte>(value >> (8U * (sizeof(T) - 1 - i)));
  }
}

template <typename T>
[[nodiscard]] T load_big_endian(std::span<const std::byte> from) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>((value << 8U) | std::to_integer<T>(from[i]));
  }
  return value;
}

}  // namespace stallscope::probe
