// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace stallscope::base {

/// Counts of lengths of time in buckets that grow with them: each is at most 1/2^precision_bits of its value wide. From 0 to 2^42
/// ns (73 minutes); longer ones count as that long, and the longest is kept exactly. A flat array that never grows.
class LatencyHistogram {
 public:
  /// 5 bits: 3 %, 9.5 KiB. 7 bits: 0.8 %, 36 KiB.
  explicit LatencyHistogram(unsigned precision_bits = default_precision_bits);
  static constexpr unsigned default_precision_bits = 7;

  /// A negative length counts as 0.
  void add(std::int64_t length_ns);
  void add(const LatencyHistogram& other);

  [[nodiscard]] std::int64_t count() const { return count_; }
  [[nodiscard]] std::int64_t maximum_ns() const { return maximum_ns_; }
  [[nodiscard]] std::int64_t minimum_ns() const { return minimum_ns_; }
  [[nodiscard]] std::int64_t mean_ns() const;
  /// The length that `fraction` of all do not exceed, to the precision: the upper end of its bucket, the longest at most. 0 where
  /// nothing was counted.
  [[nodiscard]] std::int64_t quantile_ns(double fraction) const;

  struct Bucket {
    std::int64_t from_ns = 0;
    std::int64_t to_ns = 0;
    std::int64_t count = 0;
  };
  /// Those that hold something, merged to `precision_bits` (0: one for each power of two), in order.
  [[nodiscard]] std::vector<Bucket> buckets(unsigned precision_bits) const;

 private:
  static constexpr unsigned largest_bits = 42;

  [[nodiscard]] std::size_t index_of(std::uint64_t value) const;
  [[nodiscard]] std::uint64_t lower_bound(std::size_t index) const;

  unsigned precision_bits_;
  std::vector<std::int64_t> counts_;
  std::int64_t count_ = 0;
  std::int64_t sum_ns_ = 0;
  std::int64_t minimum_ns_ = 0;
  std::int64_t maximum_ns_ = 0;
};

}  // namespace stallscope::base
