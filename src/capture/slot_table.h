// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "capture/exchange.h"

namespace stallscope::capture {

/// Entries by key in one array that doubles while all in a neighbourhood are needed, up to a limit; from there on, the one that is
/// worth least gives way. Small for as long as little is open at once, so that it stays in the CPU's caches.
///
/// Entry: `ExchangeKey key` (kind none: empty; all zeros must be one), `bool spare(now_ns)`: whether it may give way instead of the
/// table growing, `std::int64_t worth()`: the least gives way first.
template <typename Entry>
class SlotTable {
 public:
  /// `most` is a power of two.
  explicit SlotTable(std::size_t most) : entries_(allocate(least_slots)), mask_(least_slots - 1), most_(most) {}

  [[nodiscard]] std::uint64_t hash_of(const ExchangeKey& key) const { return hash(key, seed_); }
  void prefetch(std::uint64_t hash) const { __builtin_prefetch(&entries_[hash & mask_], 1); }
  [[nodiscard]] bool empty() const { return used_ == 0; }
  [[nodiscard]] std::size_t size_bytes() const { return (mask_ + 1) * sizeof(Entry); }

  [[nodiscard]] Entry* find(const ExchangeKey& key, std::uint64_t hash) {
    for (std::size_t step = 0; step < neighbourhood; ++step) {
      Entry& entry = entries_[(hash + step) & mask_];
      if (same(entry.key, key)) {
        return &entry;
      }
      // Entries give way to others and never become empty again, so that nothing lies behind an empty one.
      if (entry.key.kind == ExchangeKind::none) {
        return nullptr;
      }
    }
    return nullptr;
  }

  /// A place for a key that is not there: an empty one, or one whose content `forget` was called with. The caller fills it.
  template <typename Forget>
  [[nodiscard]] Entry& make_room(std::uint64_t hash, std::int64_t now_ns, Forget forget) {
    Entry* place = least_worth(hash);
    while (place->key.kind != ExchangeKind::none && !place->spare(now_ns) && mask_ + 1 < most_) {
      grow(now_ns, forget);
      place = least_worth(hash);
    }
    if (place->key.kind == ExchangeKind::none) {
      ++used_;
    } else {
      forget(*place);
    }
    return *place;
  }

  template <typename Visit>
  void each(Visit visit) const {
    for (std::size_t slot = 0; slot <= mask_; ++slot) {
      if (entries_[slot].key.kind != ExchangeKind::none) {
        visit(entries_[slot]);
      }
    }
  }

 private:
  static constexpr std::size_t least_slots = std::size_t{1} << 8U;
  /// Slots that a key may be in, from where its hash says on.
  static constexpr std::size_t neighbourhood = 8;

  struct Unmap {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): always given; with a default this could not be a unique_ptr's deleter
    std::size_t size;
    void operator()(Entry* entries) const { ::munmap(entries, size); }
  };
  using Entries = std::unique_ptr<Entry[], Unmap>;

  static Entries allocate(std::size_t slots) {
    const std::size_t size = slots * sizeof(Entry);
    // Zeroed by the kernel; an entry of zeros is an empty one.
    void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      throw std::bad_alloc();
    }
    ::madvise(memory, size, MADV_HUGEPAGE);
    return Entries(static_cast<Entry*>(memory), Unmap{size});
  }

  Entry* least_worth(std::uint64_t hash) {
    Entry* least = nullptr;
    for (std::size_t step = 0; step < neighbourhood; ++step) {
      Entry& entry = entries_[(hash + step) & mask_];
      if (entry.key.kind == ExchangeKind::none) {
        return &entry;
      }
      if (least == nullptr || entry.worth() < least->worth()) {
        least = &entry;
      }
    }
    return least;
  }

  /// What may give way is left behind: the table is full of it where most are answered at once.
  template <typename Forget>
  void grow(std::int64_t now_ns, Forget forget) {
    const std::size_t old_slots = mask_ + 1;
    const Entries old = std::exchange(entries_, allocate(2 * old_slots));
    mask_ = (2 * old_slots) - 1;
    used_ = 0;
    for (std::size_t slot = 0; slot < old_slots; ++slot) {
      const Entry& entry = old[slot];
      if (entry.key.kind == ExchangeKind::none || entry.spare(now_ns)) {
        continue;
      }
      Entry* const place = least_worth(hash_of(entry.key));
      if (place->key.kind == ExchangeKind::none) {
        ++used_;
      } else {
        forget(*place);
      }
      *place = entry;
    }
  }

  Entries entries_;
  std::size_t mask_;
  std::size_t most_;
  std::size_t used_ = 0;
  std::uint64_t seed_ = random_seed();
};

}  // namespace stallscope::capture
