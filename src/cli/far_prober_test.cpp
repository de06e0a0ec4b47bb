// SPDX-License-Identifier: Apache-2.0
#include "cli/far_prober.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "base/units.h"

namespace stallscope::cli {
namespace {

using base::ns_per_ms;
using testing::IsEmpty;
using testing::SizeIs;

/// Of a host whose clock shows 7 s when this one shows 1 s.
constexpr std::int64_t ahead_ns = 6 * base::ns_per_s;
constexpr std::int64_t begin_ns = 1 * base::ns_per_s;

std::string line(std::int64_t sent_ns, std::optional<std::int64_t> received_ns) {
  return fmt::format(R"({{"type":"probe","intended_ns":{},"sent_ns":{},"received_ns":{}}})"
                     "\n",
                     sent_ns - ns_per_ms + ahead_ns, sent_ns + ahead_ns,
                     received_ns ? std::to_string(*received_ns + ahead_ns) : "null");
}

TEST(FarProbeReader, TellsTheTimesOfTheOtherHostByThisClock) {
  FarProbeReader reader;
  // The first line takes 90 ms to get here, the second 3 ms.
  reader.add(line(begin_ns, begin_ns + ns_per_ms), begin_ns + (91 * ns_per_ms));
  EXPECT_THAT(reader.take(begin_ns + (91 * ns_per_ms)), IsEmpty()) << "the clocks are not compared yet";
  reader.add(line(begin_ns + (100 * ns_per_ms), begin_ns + (101 * ns_per_ms)), begin_ns + (104 * ns_per_ms));
  const std::vector<FarProbe> probes = reader.take(begin_ns + (91 * ns_per_ms) + FarProbeReader::align_ns);
  ASSERT_THAT(probes, SizeIs(2));
  EXPECT_EQ(probes[0].intended_ns, begin_ns + (2 * ns_per_ms));
  EXPECT_EQ(probes[0].sent_ns, begin_ns + (3 * ns_per_ms));
  EXPECT_EQ(probes[0].received_ns, begin_ns + (4 * ns_per_ms));
  EXPECT_THAT(reader.take(begin_ns + (2 * FarProbeReader::align_ns)), IsEmpty()) << "each is given once";
}

TEST(FarProbeReader, KnowsALostProbeAndPrefersWhatWasAnsweredForTheClock) {
  FarProbeReader reader;
  reader.add(line(begin_ns, std::nullopt), begin_ns + base::ns_per_s);
  reader.add(line(begin_ns + ns_per_ms, begin_ns + (2 * ns_per_ms)), begin_ns + (2 * ns_per_ms) + (100 * ns_per_ms));
  const std::vector<FarProbe> probes = reader.take(begin_ns + (2 * FarProbeReader::align_ns));
  ASSERT_THAT(probes, SizeIs(2));
  EXPECT_EQ(probes[0].received_ns, std::nullopt);
  EXPECT_EQ(probes[0].sent_ns, begin_ns + (100 * ns_per_ms));
}

TEST(FarProbeReader, PutsPiecesTogetherAndPassesOverWhatIsNoProbe) {
  FarProbeReader reader;
  const std::string text = "Welcome to node7\n[1,2]\n{\"type\":7}\n{\"type\":\"probe\"}\n{\"type\":\"summary\"}\n" +
                           line(begin_ns, begin_ns + ns_per_ms);
  for (const char& byte : text) {
    reader.add({&byte, 1}, begin_ns + (2 * ns_per_ms));
  }
  EXPECT_THAT(reader.take(begin_ns + (2 * FarProbeReader::align_ns)), SizeIs(1));
}

TEST(FarProbeReader, DoesNotCalculateWithTimesThatAreNone) {
  FarProbeReader reader;
  for (const char* time : {"-1", "9223372036854775807", "18446744073709551615", "1.5", "\"1\""}) {
    reader.add(fmt::format("{{\"type\":\"probe\",\"intended_ns\":0,\"sent_ns\":{},\"received_ns\":0}}\n", time), begin_ns);
  }
  reader.add(line(begin_ns, begin_ns + ns_per_ms), begin_ns + (2 * ns_per_ms));
  EXPECT_THAT(reader.take(begin_ns + (2 * FarProbeReader::align_ns)), SizeIs(1));
}

TEST(FarProbeReader, DoesNotKeepALineThatNeverEnds) {
  FarProbeReader reader;
  for (int i = 0; i < 100; ++i) {
    reader.add(std::string(10'000, 'x'), begin_ns);
  }
  reader.add("\n" + line(begin_ns, begin_ns + ns_per_ms), begin_ns + (2 * ns_per_ms));
  EXPECT_THAT(reader.take(begin_ns + (2 * FarProbeReader::align_ns)), SizeIs(1));
}

}  // namespace
}  // namespace stallscope::cli
