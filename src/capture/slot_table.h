// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "capture/exchange.h"
#include "capture/tag_bucket.h"

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
      : tags_(least_slots / bucket_size), entries_(least_slots), mask_(least_slots - 1), most_(most) {}

  [[nodiscard]] std::uint64_t hash_of(const ExchangeKey& key) const { return hash(key, seed_); }
  /// Fetching an entry takes two steps, each of which pays where others are done meanwhile: first what tells where it is, then the
  /// entry, or the place where it would go.
  void prefetch_place(std::uint64_t hash) const { __builtin_prefetch(&tags_[bucket_of(hash)]); }
  void prefetch_entry(std::uint64_t hash) const {
    const std::size_t bucket = bucket_of(hash);
    Ways ways = tags_[bucket].with(TagBucket::tag_of(hash));
    if (!ways.any()) {
      ways = tags_[bucket].with(TagBucket::no_tag);
    }
    entry_at(bucket, ways.any() ? ways.first() : 0).prefetch();
  }
  [[nodiscard]] bool empty() const { return used_ == 0; }
  [[nodiscard]] std::size_t size_bytes() const {
    return ((mask_ + 1) * sizeof(Entry)) + ((mask_ + 1) / bucket_size * sizeof(TagBucket));
  }

  [[nodiscard]] Entry* find(const ExchangeKey& key, std::uint64_t hash) {
    const std::size_t bucket = bucket_of(hash);
    for (Ways ways = tags_[bucket].with(TagBucket::tag_of(hash)); ways.any(); ways.drop_first()) {
      Entry& entry = entry_at(bucket, ways.first());
      if (same(entry.key, key)) {
        return &entry;
      }
    }
    return nullptr;
  }

  /// A place for a key that is not there: an empty one, or one whose content `forget` was called with. The caller fills it.
  template <typename Forget>
  [[nodiscard]] Entry& make_room(std::uint64_t hash, std::int64_t now_ns, Forget forget) {
    std::optional<std::size_t> way = room_in(bucket_of(hash), now_ns);
    while (!way && mask_ + 1 < most_) {
      grow(now_ns, forget);
      way = room_in(bucket_of(hash), now_ns);
    }
    return take(way ? *way : least_worth(bucket_of(hash)), hash, forget);
  }

  template <typename Visit>
  void each(Visit visit) const {
    for (std::size_t slot = 0; slot <= mask_; ++slot) {
      if (tags_[slot / bucket_size].at(slot % bucket_size) != TagBucket::no_tag) {
        visit(entries_[slot]);
      }
    }
  }

 private:
  static constexpr std::size_t least_slots = std::size_t{1} << 8U;
  /// Places that a key may be in.
  static constexpr std::size_t bucket_size = TagBucket::size;

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

  [[nodiscard]] std::size_t bucket_of(std::uint64_t hash) const { return (hash & mask_) / bucket_size; }
  [[nodiscard]] Entry& entry_at(std::size_t bucket, std::size_t way) const { return entries_[(bucket * bucket_size) + way]; }

  [[nodiscard]] std::optional<std::size_t> room_in(std::size_t bucket, std::int64_t now_ns) const {
    if (const Ways empty = tags_[bucket].with(TagBucket::no_tag); empty.any()) {
      return empty.first();
    }
    // Always from the first on: after a time in which much was open, the later ones are left alone, and the CPU's caches to others.
    for (std::size_t way = 0; way < bucket_size; ++way) {
      if (entry_at(bucket, way).spare(now_ns)) {
        return way;
      }
    }
    return std::nullopt;
  }

  [[nodiscard]] std::size_t least_worth(std::size_t bucket) const {
    std::size_t least = 0;
    for (std::size_t way = 1; way < bucket_size; ++way) {
      least = entry_at(bucket, way).worth() < entry_at(bucket, least).worth() ? way : least;
    }
    return least;
  }

  template <typename Forget>
  Entry& take(std::size_t way, std::uint64_t hash, Forget& forget) {
    const std::size_t bucket = bucket_of(hash);
    Entry& entry = entry_at(bucket, way);
    if (tags_[bucket].at(way) == TagBucket::no_tag) {
      ++used_;
    } else {
      forget(entry);
    }
    tags_[bucket].set(way, TagBucket::tag_of(hash));
    return entry;
  }

  /// What may give way is left behind: the table is full of it where most are answered at once.
  template <typename Forget>
  [[gnu::noinline]] void grow(std::int64_t now_ns, Forget& forget) {
    const std::size_t old_slots = mask_ + 1;
    const std::size_t buckets = 2 * old_slots / bucket_size;
    const Mapped<TagBucket> old_tags = std::exchange(tags_, Mapped<TagBucket>(buckets));
    const Mapped<Entry> old_entries = std::exchange(entries_, Mapped<Entry>(2 * old_slots));
    mask_ = (2 * old_slots) - 1;
    used_ = 0;
    for (std::size_t slot = 0; slot < old_slots; ++slot) {
      const Entry& entry = old_entries[slot];
      if (old_tags[slot / bucket_size].at(slot % bucket_size) == TagBucket::no_tag || entry.spare(now_ns)) {
        continue;
      }
      const std::uint64_t hash = hash_of(entry.key);
      const std::size_t bucket = bucket_of(hash);
      const Ways empty = tags_[bucket].with(TagBucket::no_tag);
      take(empty.any() ? empty.first() : least_worth(bucket), hash, forget) = entry;
    }
  }

  Mapped<TagBucket> tags_;
  Mapped<Entry> entries_;
  std::size_t mask_;
  std::size_t most_;
  std::size_t used_ = 0;
  std::uint64_t seed_ = random_seed();
};

}  // namespace stallscope::capture
