// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "capture/bytes.h"
#include "capture/pcap_source.h"

// draft-ietf-opsawg-pcapng: what reading and writing have in common. Sections are given where the numbers come from.
namespace stallscope::capture::pcapng {

inline constexpr std::uint32_t section_header = pcapng_magic;    // 4.1
inline constexpr std::uint32_t interface_description = 1;        // 4.2
inline constexpr std::uint32_t obsolete_packet = 2;              // appendix A
inline constexpr std::uint32_t simple_packet = 3;                // 4.4
inline constexpr std::uint32_t interface_statistics = 5;         // 4.6
inline constexpr std::uint32_t enhanced_packet = 6;              // 4.3
inline constexpr std::uint32_t byte_order_magic = 0x1a2b3c4d;    // 4.1
inline constexpr std::uint32_t swapped_byte_order = 0x4d3c2b1a;  // the same, of the other order

inline constexpr std::size_t block_overhead_bytes = 12;
inline constexpr std::size_t packet_fields_bytes = 20;
inline constexpr std::size_t interface_fields_bytes = 8;
inline constexpr std::size_t statistics_fields_bytes = 12;
inline constexpr std::size_t option_header_bytes = 4;
inline constexpr std::uint32_t alignment = 4;
inline constexpr std::size_t section_fields_bytes = 16;
inline constexpr std::uint16_t option_end = 0;         // 3.5
inline constexpr std::uint16_t option_comment = 1;     // 3.5.1
inline constexpr std::uint16_t option_if_tsresol = 9;  // 4.2

[[nodiscard]] constexpr std::size_t padded(std::size_t size) {
  return (size + alignment - 1) / alignment * alignment;
}

/// Of a section header, which begins at `block`; false where its magic is none.
[[nodiscard]] inline bool learn_byte_order(const std::uint8_t* block, bool& swap) {
  const auto magic = load<std::uint32_t>(block + 8);
  swap = magic == swapped_byte_order;
  return magic == byte_order_magic || swap;
}

/// Calls `take` with code and value of each option, and returns how many bytes the whole ones have, without the one that ends them.
template <typename Take>
std::size_t each_option(Bytes options, bool swap, Take take) {
  std::size_t at = 0;
  while (options.size() - at >= option_header_bytes) {
    const auto code = load_file<std::uint16_t>(options.data() + at, swap);
    const auto size = load_file<std::uint16_t>(options.data() + at + 2, swap);
    if (code == option_end || options.size() - at - option_header_bytes < padded(size)) {
      break;
    }
    take(code, options.subspan(at + option_header_bytes, size));
    at += option_header_bytes + padded(size);
  }
  return at;
}

}  // namespace stallscope::capture::pcapng
