// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace stallscope::rss {

/// The longest input there is: two IPv6 addresses and two ports.
inline constexpr std::size_t max_input_bytes = 36;
/// A hash looks at 32 bits of the key from each bit of the input on.
inline constexpr std::size_t max_key_bytes_used = max_input_bytes + 4;

/// The Toeplitz hash of receive-side scaling, as Microsoft defines it and network cards compute it. A table for each byte of the
/// input makes it one lookup and one exclusive or per byte.
class Toeplitz {
 public:
  /// Refuses a key that is shorter than four bytes more than one. What a short key leaves out cannot be hashed: see max_input().
  [[nodiscard]] static base::Result<Toeplitz> make(std::span<const std::uint8_t> key);

  /// How many bytes of input the key is long enough for.
  [[nodiscard]] std::size_t max_input() const { return tables_.size(); }
  /// `input` has at most max_input() bytes.
  [[nodiscard]] std::uint32_t hash(std::span<const std::uint8_t> input) const {
    std::uint32_t hash = 0;
    for (std::size_t at = 0; at < input.size(); ++at) {
      hash ^= tables_[at][input[at]];
    }
    return hash;
  }

 private:
  Toeplitz() = default;

  std::vector<std::array<std::uint32_t, 256>> tables_;
};

}  // namespace stallscope::rss
