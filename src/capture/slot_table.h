// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "capture/exchange.h"

namespace stallscope::capture {

/// Entries by key, in buckets of eight, in one array that doubles while all of a bucket are needed, up to a limit; from there on,
/// the one that is worth least gives way. Small for as long as little is open at once, so that it stays in the CPU's caches. A part
/// of each key's hash stands apart from the entries, so that a look for a key touches no entry but its own.
///
/// Entry: `ExchangeKey key`, `bool spare(now_ns)`: whether it may give way instead of the table growing, `std::int64_t worth()`:
/// the least gives way first, `void prefetch()`: fetches what is needed of it into the CPU's caches. All zeros must be one.
template <typename Entry>
class SlotTable {
 public:
  /// `most` is a power of two.
  explicit SlotTable(std::size_t most)
      : tags_(least_slots), oldest_(least_slots / bucket_size), entries_(least_slots), mask_(least_slots - 1), most_(most) {}

  [[nodiscard]] std::uint64_t hash_of(const ExchangeKey& key) const { return hash(key, seed_); }
  /// Fetching an entry takes two steps, each of which pays where others are done meanwhile: first what tells where it is, then the
  /// entry, or the place where it would go.
  void prefetch_place(std::uint64_t hash) const {
    __builtin_prefetch(&tags_[bucket_of(hash)]);
    __builtin_prefetch(&oldest_[bucket_of(hash) / bucket_size]);
  }
  void prefetch_entry(std::uint64_t hash) const {
    const std::size_t bucket = bucket_of(hash);
    unsigned ways = ways_with(bucket, tag_of(hash));
    ways = ways != 0 ? ways : ways_with(bucket, no_tag);
    entries_[bucket + (ways != 0 ? first_of(ways) : oldest_[bucket / bucket_size])].prefetch();
  }
  [[nodiscard]] bool empty() const { return used_ == 0; }
  [[nodiscard]] std::size_t size_bytes() const {
    return ((mask_ + 1) * (sizeof(Entry) + sizeof(Tag))) + ((mask_ + 1) / bucket_size);
  }

  [[nodiscard]] Entry* find(const ExchangeKey& key, std::uint64_t hash) {
    const std::size_t bucket = bucket_of(hash);
    for (unsigned ways = ways_with(bucket, tag_of(hash)); ways != 0; ways &= ways - 1) {
      Entry& entry = entries_[bucket + first_of(ways)];
      if (same(entry.key, key)) {
        return &entry;
      }
    }
    return nullptr;
  }

  /// A place for a key that is not there: an empty one, or one whose content `forget` was called with. The caller fills it.
  template <typename Forget>
  [[nodiscard]] Entry& make_room(std::uint64_t hash, std::int64_t now_ns, Forget forget) {
    std::optional<std::size_t> place = room_in(bucket_of(hash), now_ns);
    while (!place && mask_ + 1 < most_) {
      grow(now_ns, forget);
      place = room_in(bucket_of(hash), now_ns);
    }
    return take(place ? *place : least_worth(bucket_of(hash)), hash, forget);
  }

  template <typename Visit>
  void each(Visit visit) const {
    for (std::size_t slot = 0; slot <= mask_; ++slot) {
      if (tags_[slot] != no_tag) {
        visit(entries_[slot]);
      }
    }
  }

 private:
  using Tag = std::uint32_t;
  static constexpr Tag no_tag = 0;
  static constexpr std::size_t least_slots = std::size_t{1} << 8U;
  /// Places that a key may be in. Their tags are half a cache line.
  static constexpr std::size_t bucket_size = 8;

  /// An array of zeros, which the kernel gives only where it is written to.
  template <typename T>
  class Mapped {
   public:
    explicit Mapped(std::size_t count) : values_(map(count * sizeof(T)), Unmap{count * sizeof(T)}) {}
    [[nodiscard]] T& operator[](std::size_t at) const { return values_[at]; }

   private:
    struct Unmap {
      // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): always given; with a default this could not be a unique_ptr's
      // deleter
      std::size_t size;
      void operator()(T* values) const { ::munmap(values, size); }
    };
    static T* map(std::size_t size) {
      void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (memory == MAP_FAILED) {
        throw std::bad_alloc();
      }
      ::madvise(memory, size, MADV_HUGEPAGE);
      return static_cast<T*>(memory);
    }
    std::unique_ptr<T[], Unmap> values_;
  };

  [[nodiscard]] std::size_t bucket_of(std::uint64_t hash) const { return hash & mask_ & ~(bucket_size - 1); }
  /// Of bits that no bucket is chosen by.
  [[nodiscard]] static Tag tag_of(std::uint64_t hash) { return static_cast<Tag>(hash >> 32U) | 1U; }
  [[nodiscard]] static std::size_t first_of(unsigned ways) { return static_cast<std::size_t>(std::countr_zero(ways)); }

  /// A bit for each place of the bucket that has this tag. Without branches, so that the compiler compares all at once.
  [[nodiscard]] unsigned ways_with(std::size_t bucket, Tag tag) const {
    unsigned ways = 0;
    for (std::size_t way = 0; way < bucket_size; ++way) {
      ways |= (tags_[bucket + way] == tag ? 1U : 0U) << way;
    }
    return ways;
  }

  [[nodiscard]] std::optional<std::size_t> room_in(std::size_t bucket, std::int64_t now_ns) const {
    if (const unsigned empty = ways_with(bucket, no_tag); empty != 0) {
      return bucket + first_of(empty);
    }
    // What came first is most likely over: mostly one is looked at.
    const std::size_t oldest = oldest_[bucket / bucket_size];
    for (std::size_t way = 0; way < bucket_size; ++way) {
      const std::size_t place = bucket + ((oldest + way) % bucket_size);
      if (entries_[place].spare(now_ns)) {
        return place;
      }
    }
    return std::nullopt;
  }

  [[nodiscard]] std::size_t least_worth(std::size_t bucket) const {
    std::size_t least = bucket;
    for (std::size_t place = bucket + 1; place < bucket + bucket_size; ++place) {
      least = entries_[place].worth() < entries_[least].worth() ? place : least;
    }
    return least;
  }

  template <typename Forget>
  Entry& take(std::size_t place, std::uint64_t hash, Forget& forget) {
    if (tags_[place] == no_tag) {
      ++used_;
    } else {
      forget(entries_[place]);
    }
    tags_[place] = tag_of(hash);
    oldest_[place / bucket_size] = static_cast<std::uint8_t>((place + 1) % bucket_size);
    return entries_[place];
  }

  /// What may give way is left behind: the table is full of it where most are answered at once.
  template <typename Forget>
  void grow(std::int64_t now_ns, Forget& forget) {
    const std::size_t old_slots = mask_ + 1;
    const Mapped<Tag> old_tags = std::exchange(tags_, Mapped<Tag>(2 * old_slots));
    const Mapped<Entry> old_entries = std::exchange(entries_, Mapped<Entry>(2 * old_slots));
    oldest_ = Mapped<std::uint8_t>(2 * old_slots / bucket_size);
    mask_ = (2 * old_slots) - 1;
    used_ = 0;
    for (std::size_t slot = 0; slot < old_slots; ++slot) {
      const Entry& entry = old_entries[slot];
      if (old_tags[slot] == no_tag || entry.spare(now_ns)) {
        continue;
      }
      const std::uint64_t hash = hash_of(entry.key);
      const std::size_t bucket = bucket_of(hash);
      const unsigned empty = ways_with(bucket, no_tag);
      take(empty != 0 ? bucket + first_of(empty) : least_worth(bucket), hash, forget) = entry;
    }
  }

  Mapped<Tag> tags_;
  /// Of each bucket, the place after the one that was taken last.
  Mapped<std::uint8_t> oldest_;
  Mapped<Entry> entries_;
  std::size_t mask_;
  std::size_t most_;
  std::size_t used_ = 0;
  std::uint64_t seed_ = random_seed();
};

}  // namespace stallscope::capture
