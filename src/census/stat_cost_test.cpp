// SPDX-License-Identifier: Apache-2.0
#include "census/stat_cost.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/units.h"
#include "census/fake_root.h"

namespace stallscope::census {
namespace {

TEST(CostliestCgroups, TakesTheRootThenMostDyingThenMostDescendants) {
  const std::vector<VisibleCgroup> cgroups = {{"/m", 1, 5},      {"/m/b", 2, 0},       {"/m/a", 3, 0},
                                              {"/m/many", 4, 2}, {"/m/zombies", 5, 0}, {"/m/many/x", 6, 0}};
  EXPECT_THAT(costliest_cgroups(cgroups, {{1, 50'000}, {5, 40'000}, {2, 10}}, 4),
              testing::ElementsAre("/m", "/m/zombies", "/m/b", "/m/many"));
  EXPECT_THAT(costliest_cgroups(cgroups, {}, 3), testing::ElementsAre("/m", "/m/many", "/m/a"));
  EXPECT_TRUE(costliest_cgroups({}, {}, 3).empty());
}

/// Plays back what each cgroup's reads cost, in milliseconds.
class Reads {
 public:
  explicit Reads(std::map<std::string, std::vector<std::int64_t>> costs_ms) : costs_ms_(std::move(costs_ms)) {}
  base::Result<std::int64_t> operator()(const std::string& cgroup) {
    std::vector<std::int64_t>& costs_ms = costs_ms_[cgroup];
    if (costs_ms.empty()) {
      return base::Error{"read", cgroup, "no such read", ""};
    }
    const std::int64_t cost_ms = costs_ms.front();
    costs_ms.erase(costs_ms.begin());
    return cost_ms * base::ns_per_ms;
  }

 private:
  std::map<std::string, std::vector<std::int64_t>> costs_ms_;
};

TEST(MeasureStatCost, ReportsMedianAndWorstOfThreeReads) {
  const StatCost cost = measure_stat_cost({"/m"}, Reads({{"/m", {20, 1, 3, 99}}}));
  ASSERT_EQ(cost.reads.size(), 1U);
  EXPECT_EQ(cost.reads[0].path, "/m");
  EXPECT_EQ(cost.reads[0].read_count, 3);
  EXPECT_EQ(cost.reads[0].median_ns, 3 * base::ns_per_ms);
  EXPECT_EQ(cost.reads[0].worst_ns, 20 * base::ns_per_ms);
}

TEST(MeasureStatCost, DoesNotRepeatASlowReadButReadsTheNextCgroup) {
  const StatCost cost =
      measure_stat_cost({"/slow", "/late", "/fast"}, Reads({{"/slow", {98, 1, 1}}, {"/late", {1, 21, 1}}, {"/fast", {1, 1, 1}}}));
  ASSERT_EQ(cost.reads.size(), 3U);
  EXPECT_EQ(cost.reads[0].read_count, 1);
  EXPECT_EQ(cost.reads[0].worst_ns, 98 * base::ns_per_ms);
  EXPECT_EQ(cost.reads[1].read_count, 2);
  EXPECT_EQ(cost.reads[2].read_count, 3);
}

TEST(MeasureStatCost, ACgroupThatCannotBeReadIsAGap) {
  const FakeRoot root;
  root.add_file("/m/memory.stat", "cache 0\n");
  root.add_directory("/m/child");
  const StatCost cost = measure_stat_cost({"/m", "/m/child"}, timed_memory_stat_read(root.path()));
  ASSERT_EQ(cost.reads.size(), 1U);
  EXPECT_EQ(cost.reads[0].read_count, 3);
  EXPECT_GT(cost.reads[0].median_ns, 0);
  ASSERT_EQ(cost.gaps.size(), 1U);
  EXPECT_NE(cost.gaps[0].reason.find("/m/child/memory.stat"), std::string::npos);
}

}  // namespace
}  // namespace stallscope::census
