// SPDX-License-Identifier: Apache-2.0
#include "host/counters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "base/units.h"
#include "host/fake_tree.h"

namespace stallscope::host {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Debian 6.1; CPU 1 is offline, so the second row is of CPU 2.
constexpr std::string_view thirteen_columns =
    "0001a2b3 00000001 0000000a 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000\n"
    "00000302 00000000 00000007 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000002\n";
// Linux 6.18.
constexpr std::string_view fifteen_columns =
    "0000000b 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 "
    "00000000\n"
    "ffffffff 00000005 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000001f 00000000 "
    "00000000\n";
// Linux 5.8 has no column for the CPU.
constexpr std::string_view eleven_columns =
    "00000010 00000002 00000003 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000\n"
    "00000020 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000\n";
constexpr std::array<std::int32_t, 2> online = {0, 3};

TEST(ParseSoftnetStat, NamesTheCpuOfEachRow) {
  EXPECT_THAT(*parse_softnet_stat(thirteen_columns, online),
              ElementsAre(CounterValue{"softnet.received", 0, 0x1a2b3}, CounterValue{"softnet.dropped", 0, 1},
                          CounterValue{"softnet.time_squeeze", 0, 10}, CounterValue{"softnet.received", 2, 0x302},
                          CounterValue{"softnet.dropped", 2, 0}, CounterValue{"softnet.time_squeeze", 2, 7}));
}

TEST(ParseSoftnetStat, ReadsTheWiderRowsOfNewerKernels) {
  const auto counters = parse_softnet_stat(fifteen_columns, online);
  ASSERT_TRUE(counters);
  EXPECT_THAT(*counters, SizeIs(6));
  EXPECT_THAT(*counters, Contains(CounterValue{"softnet.received", 31, 0xffffffff}));
  EXPECT_THAT(*counters, Contains(CounterValue{"softnet.dropped", 31, 5}));
}

TEST(ParseSoftnetStat, CountsOnlineCpusWhereRowsDoNotSay) {
  EXPECT_THAT(*parse_softnet_stat(eleven_columns, online), Contains(CounterValue{"softnet.received", 3, 0x20}));
  EXPECT_FALSE(parse_softnet_stat(eleven_columns, {}));
}

TEST(ParseSoftnetStat, RefusesNonsense) {
  const std::string too_wide = "100000000" + std::string(thirteen_columns.substr(8));
  const std::string negative = "-0000001" + std::string(thirteen_columns.substr(8));
  for (const std::string_view nonsense : {std::string_view(""), std::string_view("\n\n"), std::string_view("1 2 3\n"),
                                          std::string_view("a b c d e f g h i j k l m\n"), std::string_view("\0\xff\n", 3),
                                          std::string_view(too_wide), std::string_view(negative)}) {
    const auto counters = parse_softnet_stat(nonsense, online);
    ASSERT_FALSE(counters) << nonsense;
    EXPECT_THAT(counters.error().message(), HasSubstr("/proc/net/softnet_stat"));
  }
}

TEST(ParseSteal, TurnsTicksIntoNanoseconds) {
  const auto counters = parse_steal(
      "cpu  13527 0 3108 283294 1313 0 43 210 0 0\n"
      "cpu0 3064 0 1272 146041 208 0 5 117 0 0\n"
      "cpu11 10463 0 1836 137253 1104 0 38 92 0 0\n"
      "intr 182149 0 0\nctxt 99\n",
      100);
  EXPECT_THAT(*counters,
              ElementsAre(CounterValue{"steal", 0, 1170 * base::ns_per_ms}, CounterValue{"steal", 11, 920 * base::ns_per_ms}));
}

TEST(ParseSteal, RefusesNonsense) {
  for (const char* nonsense : {"", "cpu 1 2 3\n", "cpu0 1 2 3 4 5 6 7\n", "cpux 1 2 3 4 5 6 7 8\n", "cpu0 1 2 3 4 5 6 7 -8\n",
                               "cpu0 1 2 3 4 5 6 7 9223372036854775807\n", "cpu99999999999 1 2 3 4 5 6 7 8\n"}) {
    EXPECT_FALSE(parse_steal(nonsense, 100)) << nonsense;
  }
}

TEST(SoftnetIncrease, GoesOnAcrossTheWrap) {
  EXPECT_EQ(softnet_increase(5, 9), 4);
  EXPECT_EQ(softnet_increase(0xfffffffe, 3), 5);
}

TEST(ReadCounters, ReadsBothFiles) {
  FakeTree tree;
  tree.add("/proc/net/softnet_stat", thirteen_columns).add("/proc/stat", "cpu0 0 0 0 0 0 0 0 3\n");
  const auto counters = read_counters(tree.files());
  ASSERT_TRUE(counters) << counters.error().message();
  EXPECT_THAT(*counters, SizeIs(7));
  EXPECT_THAT(*counters, Contains(AllOf(Field(&CounterValue::name, "steal"), Field(&CounterValue::cpu, 0))));
}

TEST(ReadCounters, AMissingFileIsAnError) {
  FakeTree tree;
  EXPECT_FALSE(read_counters(tree.files()));
  tree.add("/proc/net/softnet_stat", thirteen_columns);
  EXPECT_FALSE(read_counters(tree.files()));
}

}  // namespace
}  // namespace stallscope::host
