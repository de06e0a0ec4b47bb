// SPDX-License-Identifier: Apache-2.0
#include "bisect/verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bisect/simulation.h"

namespace stallscope::bisect {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr int runs = 20;

struct Outcome {
  Verdict verdict;
  std::vector<RungCounts> rungs;
};

/// As a live run does it: settled a second behind, stopped once it is decided.
Outcome watch(const Path& path, const std::vector<Observation>& observations) {
  StallTracker tracker(path.rungs.size(), {});
  std::vector<Stall> stalls;
  Outcome outcome;
  std::int64_t next_ns = 3 * base::ns_per_s;
  const auto settle = [&](std::int64_t now_ns, bool all) {
    const std::vector<Stall> more = tracker.settle(now_ns - (2 * base::ns_per_s), all);
    stalls.insert(stalls.end(), more.begin(), more.end());
    outcome.verdict = compare(path, stalls, silent_rungs(tracker.rungs()), tracker.settled_ns() - tracker.first_ns());
  };
  for (const Observation& observation : observations) {
    if (observation.intended_ns >= next_ns) {
      settle(next_ns, false);
      next_ns += base::ns_per_s;
      if (outcome.verdict.decided()) {
        break;
      }
    }
    tracker.add(observation);
  }
  if (!outcome.verdict.decided()) {
    settle(next_ns, true);
  }
  outcome.rungs = tracker.rungs();
  return outcome;
}

class FaultyLayer : public testing::TestWithParam<const char*> {};

TEST_P(FaultyLayer, IsNamedAndNoOther) {
  const Path path = service_path();
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    const Simulation simulation{.faults = {{.layer = GetParam()}}, .duration_ns = 120 * base::ns_per_s, .loss = 0.002};
    const Verdict verdict = watch(path, simulate(path, simulation, seed)).verdict;
    ASSERT_EQ(verdict.causes.size(), 1U) << seed;
    EXPECT_EQ(verdict.causes.front().state, Cause::State::found) << seed;
    EXPECT_THAT(verdict.causes.front().suspects, ElementsAre(GetParam())) << seed;
    EXPECT_EQ(verdict.causes.front().exonerated.size(), path.layers().size() - 1) << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Each, FaultyLayer, testing::Values("nat", "overlay", "application", "transport", "node", "sender"));

TEST(Compare, FindsNothingWhereNothingIsWrong) {
  const Path path = service_path();
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    const Outcome outcome = watch(path, simulate(path, {.loss = 0.002}, seed));
    EXPECT_EQ(outcome.verdict.stall_count, 0) << seed;
    EXPECT_THAT(outcome.verdict.causes, IsEmpty());
    EXPECT_THAT(compare_loss(path, outcome.rungs, {}).suspects, IsEmpty()) << seed;
  }
}

TEST(Compare, BlamesNoLayerForLateAnswersThatHaveNothingToDoWithEachOther) {
  const Path path = service_path();
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    const Verdict verdict = watch(path, simulate(path, {.spurious = 0.0003}, seed)).verdict;
    for (const Cause& cause : verdict.causes) {
      // A rung of its own alone may be told; what many rungs share may not.
      EXPECT_TRUE(cause.state != Cause::State::found || cause.stalls.front().hit.count() == 1) << seed;
    }
  }
}

TEST(Compare, TellsTwoCausesApart) {
  const Path path = service_path();
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    const Simulation simulation{.faults = {{.layer = "node"}, {.layer = "application"}}, .duration_ns = 120 * base::ns_per_s};
    StallTracker tracker(path.rungs.size(), {});
    for (const Observation& observation : simulate(path, simulation, seed)) {
      tracker.add(observation);
    }
    const std::vector<Stall> stalls = tracker.settle(0, true);
    const Verdict verdict = compare(path, stalls, {}, simulation.duration_ns);
    ASSERT_EQ(verdict.causes.size(), 2U) << seed;
    const std::vector<std::vector<std::string>> suspects = {verdict.causes[0].suspects, verdict.causes[1].suspects};
    EXPECT_THAT(suspects, UnorderedElementsAre(ElementsAre("node"), ElementsAre("application"))) << seed;
  }
}

Stall stall_of(const char* exposed, const char* hit) {
  return {.start_ns = 0, .end_ns = 50 * base::ns_per_ms, .exposed = RungSet(exposed), .hit = RungSet(hit)};
}

// Bits from the right: service, pod by HTTP, pod by TCP, pod by ICMP, node by ICMP, this host.
TEST(Compare, SaysWhichComparisonExoneratesALayer) {
  const std::vector<Stall> stalls(14, stall_of("111111", "001111"));
  const Verdict verdict = compare(service_path(), stalls, {}, 60 * base::ns_per_s);
  ASSERT_EQ(verdict.causes.size(), 1U);
  const Cause& cause = verdict.causes.front();
  EXPECT_THAT(cause.suspects, ElementsAre("overlay"));
  const auto of = [&](std::string_view layer) {
    return *std::find_if(cause.exonerated.begin(), cause.exonerated.end(), [&](const Exoneration& e) { return e.layer == layer; });
  };
  EXPECT_FALSE(of("nat").crossed_and_clean);
  EXPECT_EQ(of("nat").hits, 14);
  EXPECT_TRUE(of("node").crossed_and_clean);
  EXPECT_EQ(of("node").rung, 4U);
  EXPECT_EQ(of("node").hits, 0);
}

TEST(Compare, WaitsUntilEveryRungIsDecidedAndSaysForHowLong) {
  const std::vector<Stall> stalls(2, stall_of("111111", "001111"));
  const Verdict verdict = compare(service_path(), stalls, {}, 20 * base::ns_per_s);
  ASSERT_EQ(verdict.causes.size(), 1U);
  EXPECT_FALSE(verdict.decided());
  EXPECT_THAT(verdict.causes.front().suspects, IsEmpty());
  EXPECT_EQ(verdict.causes.front().stalls_missing, 2);
  EXPECT_EQ(verdict.causes.front().time_missing_ns, 20 * base::ns_per_s);
}

TEST(Compare, LeavesOutRungsThatWereNotExposed) {
  // The node was never probed while a stall lasted: nothing is known of it.
  const std::vector<Stall> stalls(14, stall_of("101111", "001111"));
  const Verdict verdict = compare(service_path(), stalls, {}, 60 * base::ns_per_s);
  EXPECT_FALSE(verdict.decided());
  // Nor where it never answers, but then that is no reason to wait; node stays a suspect.
  const Verdict without = compare(service_path(), stalls, RungSet("010000"), 60 * base::ns_per_s);
  ASSERT_TRUE(without.decided());
  EXPECT_THAT(without.causes.front().suspects, UnorderedElementsAre("overlay", "node"));
}

TEST(Compare, SaysThatNoLayerFits) {
  // Service and node, and nothing between them.
  const std::vector<Stall> stalls(10, stall_of("111111", "010001"));
  const Verdict verdict = compare(service_path(), stalls, {}, 60 * base::ns_per_s);
  ASSERT_EQ(verdict.causes.size(), 1U);
  EXPECT_EQ(verdict.causes.front().state, Cause::State::no_such_layer);
  EXPECT_THAT(verdict.causes.front().suspects, IsEmpty());
}

TEST(Compare, DoesNotBlameOneLayerForTheStallsOfTwo) {
  // New connections wait for NAT, and the application for its turn.
  std::vector<Stall> stalls(11, stall_of("111111", "000001"));
  stalls.insert(stalls.end(), 8, stall_of("111111", "000011"));
  const Verdict verdict = compare(service_path(), stalls, {}, 10 * base::ns_per_s);
  std::vector<std::vector<std::string>> found;
  for (const Cause& cause : verdict.causes) {
    found.push_back(cause.suspects);
  }
  EXPECT_THAT(found, UnorderedElementsAre(ElementsAre("nat"), ElementsAre("application")));
}

TEST(Compare, ToleratesARungWhosePacketsMeetAnotherCpuNowAndThen) {
  std::vector<Stall> stalls(12, stall_of("111111", "011111"));
  stalls.insert(stalls.end(), 3, stall_of("111111", "011011"));
  const Verdict verdict = compare(service_path(), stalls, {}, 60 * base::ns_per_s);
  ASSERT_EQ(verdict.causes.size(), 1U);
  EXPECT_THAT(verdict.causes.front().suspects, ElementsAre("node"));
}

TEST(CompareLoss, NamesTheLayerThatOnlyLosingRungsCross) {
  std::vector<RungCounts> rungs(6, RungCounts{.sent = 1000, .answered = 1000});
  rungs[0].answered = 950;
  rungs[0].lost = 50;
  EXPECT_THAT(compare_loss(service_path(), rungs, {}).suspects, ElementsAre("nat"));
  // One of a thousand is less than can be told from none.
  rungs[0] = {.sent = 1000, .answered = 999, .lost = 1};
  EXPECT_THAT(compare_loss(service_path(), rungs, {}).suspects, IsEmpty());
}

}  // namespace
}  // namespace stallscope::bisect
