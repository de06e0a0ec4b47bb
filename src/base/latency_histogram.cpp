// SPDX-License-Identifier: Apache-2.0
#include "base/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace stallscope::base {

// Values below 2^p have a bucket each. From there on, each power of two is divided into 2^p buckets.

LatencyHistogram::LatencyHistogram(unsigned precision_bits)
    : precision_bits_(precision_bits), counts_((largest_bits - precision_bits + 1) * (std::size_t{1} << precision_bits)) {}

std::size_t LatencyHistogram::index_of(std::uint64_t value) const {
  value = std::min(value, (std::uint64_t{1} << largest_bits) - 1);
  const auto bits = static_cast<unsigned>(std::bit_width(value));
  if (bits <= precision_bits_) {
    return value;
  }
  const unsigned shift = bits - precision_bits_ - 1;
  return (static_cast<std::size_t>(shift + 1) << precision_bits_) + ((value >> shift) - (std::uint64_t{1} << precision_bits_));
}

std::uint64_t LatencyHistogram::lower_bound(std::size_t index) const {
  const std::size_t octave = index >> precision_bits_;
  const std::uint64_t within = index & ((std::size_t{1} << precision_bits_) - 1);
  return octave == 0 ? within : (within + (std::uint64_t{1} << precision_bits_)) << (octave - 1);
}

void LatencyHistogram::add(std::int64_t length_ns) {
  length_ns = std::max<std::int64_t>(0, length_ns);
  ++counts_[index_of(static_cast<std::uint64_t>(length_ns))];
  minimum_ns_ = count_ == 0 ? length_ns : std::min(minimum_ns_, length_ns);
  maximum_ns_ = std::max(maximum_ns_, length_ns);
  ++count_;
  // 2^63 ns are 292 years of waiting in sum.
  sum_ns_ += length_ns;
}

void LatencyHistogram::add(const LatencyHistogram& other) {
  if (other.count_ == 0) {
    return;
  }
  for (std::size_t i = 0; i < other.counts_.size(); ++i) {
    counts_[index_of(other.lower_bound(i))] += other.counts_[i];
  }
  minimum_ns_ = count_ == 0 ? other.minimum_ns_ : std::min(minimum_ns_, other.minimum_ns_);
  maximum_ns_ = std::max(maximum_ns_, other.maximum_ns_);
  count_ += other.count_;
  sum_ns_ += other.sum_ns_;
}

std::int64_t LatencyHistogram::mean_ns() const {
  return count_ == 0 ? 0 : sum_ns_ / count_;
}

std::int64_t LatencyHistogram::quantile_ns(double fraction) const {
  if (count_ == 0) {
    return 0;
  }
  const auto rank =
      std::clamp<std::int64_t>(static_cast<std::int64_t>(std::ceil(fraction * static_cast<double>(count_))), 1, count_);
  std::int64_t seen = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (seen >= rank) {
      return std::clamp(static_cast<std::int64_t>(lower_bound(i + 1)) - 1, minimum_ns_, maximum_ns_);
    }
  }
  return maximum_ns_;
}

std::vector<LatencyHistogram::Bucket> LatencyHistogram::buckets(unsigned precision_bits) const {
  const LatencyHistogram coarse(std::min(precision_bits, precision_bits_));
  std::vector<Bucket> found;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] == 0) {
      continue;
    }
    const std::size_t merged = coarse.index_of(lower_bound(i));
    const auto from_ns = static_cast<std::int64_t>(coarse.lower_bound(merged));
    if (found.empty() || found.back().from_ns != from_ns) {
      found.push_back({from_ns, static_cast<std::int64_t>(coarse.lower_bound(merged + 1)), 0});
    }
    found.back().count += counts_[i];
  }
  return found;
}

}  // namespace stallscope::base
