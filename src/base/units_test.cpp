// SPDX-License-Identifier: Apache-2.0
#include "base/units.h"

#include <gtest/gtest.h>

namespace stallscope::base {
namespace {

constexpr std::int64_t minimum_ns = ns_per_ms;
constexpr std::int64_t maximum_ns = 3600 * ns_per_s;

TEST(ParseDuration, ReadsUnitsAndDecimals) {
  EXPECT_EQ(*parse_duration("--for", "20s", minimum_ns, maximum_ns), 20 * ns_per_s);
  EXPECT_EQ(*parse_duration("--for", "1.5ms", minimum_ns, maximum_ns), 1'500'000);
  EXPECT_EQ(*parse_duration("--for", "7", minimum_ns, maximum_ns), 7 * ns_per_s);
  EXPECT_EQ(*parse_duration("--for", "2m", minimum_ns, maximum_ns), 120 * ns_per_s);
}

TEST(ParseDuration, RefusesWhatIsNotADurationOrOutOfRange) {
  for (const char* text : {"", "s", "abc", "10x", "-5s", "0", "nan", "inf", "1e300", "8760h", "5 s"}) {
    const Result<std::int64_t> parsed = parse_duration("--for", text, minimum_ns, maximum_ns);
    ASSERT_FALSE(parsed) << text;
    EXPECT_NE(parsed.error().message().find("--for"), std::string::npos);
  }
}

TEST(Format, DurationsUseTheLargestUnitThatFits) {
  EXPECT_EQ(format_duration(98'700'000), "98.7 ms");
  EXPECT_EQ(format_duration(2'000), "2.0 us");
  EXPECT_EQ(format_duration(20 * ns_per_s), "20 s");
  EXPECT_EQ(format_duration(999), "999 ns");
  EXPECT_EQ(format_duration(365LL * 24 * 3600 * ns_per_s), "8760 h");
}

TEST(Format, CountsBytesAndPercent) {
  EXPECT_EQ(format_count(50'006), "50,006");
  EXPECT_EQ(format_count(-1'234'567), "-1,234,567");
  EXPECT_EQ(format_count(100), "100");
  EXPECT_EQ(format_bytes(204'800'000), "195 MiB");
  EXPECT_EQ(format_bytes(1000), "1000 bytes");
  EXPECT_EQ(format_percent(0.021), "2.1 %");
  EXPECT_EQ(format_percent(0.9999), "99.9 %");
  EXPECT_EQ(format_percent(1.0), "100 %");
}

}  // namespace
}  // namespace stallscope::base
