// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "capture/exchange.h"

namespace stallscope::capture {

/// Numbers keys from 0 in the order in which they come. One look into a flat table for each, and no memory of a key's own.
class KeyNumbers {
 public:
  /// A number equal to what size() was before is a new one.
  [[nodiscard]] std::uint32_t of(const ExchangeKey& key) {
    if (2 * (keys_.size() + 1) > places_.size()) {
      grow();
    }
    std::uint32_t& place = find(key);
    if (place == none) {
      place = static_cast<std::uint32_t>(keys_.size());
      keys_.push_back(key);
    }
    return place;
  }
  [[nodiscard]] std::size_t size() const { return keys_.size(); }
  /// In order of their numbers.
  [[nodiscard]] const std::vector<ExchangeKey>& keys() const { return keys_; }

 private:
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::size_t least_places = 64;

  /// The key's place, or the empty one where it belongs.
  [[nodiscard]] std::uint32_t& find(const ExchangeKey& key) {
    const std::size_t mask = places_.size() - 1;
    std::size_t at = hash(key, seed_) & mask;
    while (places_[at] != none && !same(keys_[places_[at]], key)) {
      at = (at + 1) & mask;
    }
    return places_[at];
  }

  void grow() {
    places_.assign(places_.empty() ? least_places : 2 * places_.size(), none);
    for (std::size_t number = 0; number < keys_.size(); ++number) {
      find(keys_[number]) = static_cast<std::uint32_t>(number);
    }
  }

  std::vector<ExchangeKey> keys_;
  /// Numbers; at most every second place has one. Their count is a power of two.
  std::vector<std::uint32_t> places_;
  std::uint64_t seed_ = random_seed();
};

}  // namespace stallscope::capture
