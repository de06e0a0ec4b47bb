// SPDX-License-Identifier: Apache-2.0
#include "probe/receive_clock.h"

#include <gtest/gtest.h>

#include "base/units.h"

namespace stallscope::probe {
namespace {

using base::ns_per_ms;
using base::ns_per_s;

constexpr std::int64_t offset_ns = 1'700'000'000 * ns_per_s;
constexpr std::int64_t sent_ns = 1000 * ns_per_ms;
constexpr std::int64_t read_ns = 1050 * ns_per_ms;

TEST(ReceiveClock, ConvertsByTheOffsetAtTheTimeOfReading) {
  ReceiveClock clock;
  clock.observe(read_ns, offset_ns);
  EXPECT_EQ(clock.to_monotonic(sent_ns + offset_ns + ns_per_ms, sent_ns), sent_ns + ns_per_ms);
  EXPECT_EQ(clock.replaced(), 0);
  EXPECT_EQ(clock.steps(), 0);
}

TEST(ReceiveClock, ReadingErrorOfTheOffsetIsNoStep) {
  ReceiveClock clock;
  clock.observe(read_ns, offset_ns);
  clock.observe(read_ns, offset_ns + 2'000);
  EXPECT_EQ(clock.to_monotonic(sent_ns + offset_ns + ns_per_ms, sent_ns), sent_ns + ns_per_ms - 2'000);
  EXPECT_EQ(clock.steps(), 0);
}

TEST(ReceiveClock, TimestampsOfTheBatchInWhichTheClockWasSteppedAreReplaced) {
  for (const std::int64_t step_ns : {ns_per_s, -ns_per_s, 10 * ns_per_ms, -10 * ns_per_ms}) {
    ReceiveClock clock;
    clock.observe(sent_ns, offset_ns);
    // Stamped before the step. With the new offset, a step of 10 ms would even look plausible.
    clock.observe(read_ns, offset_ns + step_ns);
    EXPECT_EQ(clock.to_monotonic(sent_ns + offset_ns + (30 * ns_per_ms), sent_ns), read_ns) << step_ns;
    EXPECT_EQ(clock.steps(), 1);
    EXPECT_EQ(clock.replaced(), 1);
    // The next batch was stamped after it.
    clock.observe(read_ns + ns_per_ms, offset_ns + step_ns);
    EXPECT_EQ(clock.to_monotonic(read_ns + offset_ns + step_ns, sent_ns), read_ns);
    EXPECT_EQ(clock.steps(), 1);
    EXPECT_EQ(clock.replaced(), 1);
  }
}

TEST(ReceiveClock, ReplacesTimesThatCannotBe) {
  ReceiveClock clock;
  clock.observe(read_ns, offset_ns);
  EXPECT_EQ(clock.to_monotonic(sent_ns + offset_ns - 1, sent_ns), read_ns);
  EXPECT_EQ(clock.to_monotonic(read_ns + offset_ns + 1, sent_ns), read_ns);
  EXPECT_EQ(clock.to_monotonic(std::nullopt, sent_ns), read_ns);
  EXPECT_EQ(clock.replaced(), 3);
}

}  // namespace
}  // namespace stallscope::probe
