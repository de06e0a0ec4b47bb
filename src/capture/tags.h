// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace stallscope::capture {

/// A part of a key's hash, which stands apart from what is kept of the key: a look for one that is not there touches nothing else.
/// None is 0.
using Tag = std::uint32_t;
inline constexpr Tag no_tag = 0;

/// Places that a key may be in, one after the other. Their tags are half a cache line.
inline constexpr std::size_t bucket_size = 8;

/// A bit for each place of the bucket of `tags` that has this one. Without branches, so that the compiler compares all at once.
[[nodiscard]] inline unsigned ways_with(const Tag* tags, Tag tag) {
  unsigned ways = 0;
  for (std::size_t way = 0; way < bucket_size; ++way) {
    ways |= (tags[way] == tag ? 1U : 0U) << way;
  }
  return ways;
}

/// The first place of `ways`, which has one at least.
[[nodiscard]] inline std::size_t first_of(unsigned ways) {
  return static_cast<std::size_t>(std::countr_zero(ways));
}

}  // namespace stallscope::capture
