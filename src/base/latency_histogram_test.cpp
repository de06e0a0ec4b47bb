// SPDX-License-Identifier: Apache-2.0
#include "base/latency_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace stallscope::base {
namespace {

TEST(LatencyHistogram, QuantilesAreExactToItsPrecision) {
  for (const unsigned bits : {5U, 7U}) {
    LatencyHistogram histogram(bits);
    std::vector<std::int64_t> values;
    // A spread over nine powers of ten, as pseudo-random as need be.
    std::uint64_t state = 88172645463325252U;
    for (int i = 0; i < 20'000; ++i) {
      state ^= state << 13U;
      state ^= state >> 7U;
      state ^= state << 17U;
      values.push_back(static_cast<std::int64_t>(state >> (24 + state % 40)));
      histogram.add(values.back());
    }
    std::sort(values.begin(), values.end());
    for (const double fraction : {0.0001, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
      const auto rank = static_cast<std::size_t>(std::max(1.0, std::ceil(fraction * static_cast<double>(values.size()))));
      const std::int64_t exact = values[rank - 1];
      const std::int64_t found = histogram.quantile_ns(fraction);
      EXPECT_GE(found, exact);
      EXPECT_LE(found - exact, (exact >> bits) + 1) << fraction;
    }
    EXPECT_EQ(histogram.maximum_ns(), values.back());
    EXPECT_EQ(histogram.minimum_ns(), values.front());
    std::int64_t counted = 0;
    for (const auto& bucket : histogram.buckets(1)) {
      EXPECT_LT(bucket.from_ns, bucket.to_ns);
      counted += bucket.count;
    }
    EXPECT_EQ(counted, histogram.count());
  }
}

TEST(LatencyHistogram, TakesAnyLength) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.quantile_ns(0.5), 0);
  histogram.add(-5);
  histogram.add(std::numeric_limits<std::int64_t>::max() / 2);
  EXPECT_EQ(histogram.minimum_ns(), 0);
  EXPECT_EQ(histogram.quantile_ns(1.0), (std::int64_t{1} << 42U) - 1);
}

}  // namespace
}  // namespace stallscope::base
