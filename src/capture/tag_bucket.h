// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace stallscope::capture {

/// Places of a bucket that were found, as bits.
class Ways {
 public:
  explicit Ways(std::uint64_t marks) : marks_(marks) {}
  [[nodiscard]] bool any() const { return marks_ != 0; }
  /// To be asked where there are any.
  [[nodiscard]] std::size_t first() const { return static_cast<std::size_t>(std::countr_zero(marks_)) / 8; }
  void drop_first() { marks_ &= marks_ - 1; }

 private:
  /// The highest bit of each byte.
  std::uint64_t marks_;
};

/// A part of the hash for each of eight places, in one word, so that all are compared at once: a dozen instructions, where a
/// loop takes five for each.
class TagBucket {
 public:
  static constexpr std::size_t size = 8;
  using Tag = std::uint8_t;
  static constexpr Tag no_tag = 0;

  /// Of the highest bits; by these no bucket may be chosen.
  [[nodiscard]] static Tag tag_of(std::uint64_t hash) { return std::max<Tag>(static_cast<Tag>(hash >> 56U), 1); }

  /// The first is right; each other one may be a place with the tag next to this one, too.
  [[nodiscard]] Ways with(Tag tag) const {
    // Zero bytes, as in "Determine if a word has a zero byte" of S. E. Anderson's Bit Twiddling Hacks: a borrow marks no byte
    // below the lowest one that is zero.
    const std::uint64_t differences = word_ ^ (each_byte * tag);
    return Ways((differences - each_byte) & ~differences & (each_byte << 7U));
  }
  [[nodiscard]] Tag at(std::size_t way) const { return static_cast<Tag>(word_ >> (8 * way)); }
  void set(std::size_t way, Tag tag) { word_ = (word_ & ~(std::uint64_t{0xff} << (8 * way))) | (std::uint64_t{tag} << (8 * way)); }

 private:
  static constexpr std::uint64_t each_byte = 0x0101010101010101;
  std::uint64_t word_ = 0;
};

}  // namespace stallscope::capture
