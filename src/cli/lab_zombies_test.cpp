// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

#include "base/files.h"
#include "cli/lab_fixture.h"

namespace stallscope::cli {
namespace {

/// Others make and remove memory cgroups meanwhile.
constexpr std::int64_t others_count = 50;
constexpr std::int64_t zombies_count = 800;

testing::Matcher<std::int64_t> about(std::int64_t count) {
  return testing::AllOf(testing::Ge(count - others_count), testing::Le(count + others_count));
}

class LabZombies : public LabCommand {
 protected:
  static std::vector<std::string> order(const std::string& pin, bool hold = false) {
    std::vector<std::string> arguments = {"zombies", "--count", std::to_string(zombies_count), "--pin", pin, "--json"};
    if (hold) {
      arguments.emplace_back("--hold");
    }
    return arguments;
  }

  /// Reads up to the stage; fails the test where it does not come.
  static json wait_for_stage(LabProcess& lab, const std::string& stage) {
    while (const std::optional<json> line = lab.next()) {
      if (line->value("stage", "") == stage) {
        return *line;
      }
    }
    ADD_FAILURE() << "no stage " << stage << ": " << lab.messages();
    return {};
  }

  /// Runs to the end; the four stages and the line at the end.
  void run_through(const std::string& pin) {
    LabProcess lab(order(pin));
    lines_ = lab.rest();
    ASSERT_EQ(lab.exit_status(), exit_clean) << lab.messages();
    ASSERT_EQ(lines_.size(), 5U);
    const std::vector<std::string> stages = {"before", "created", "removed", "cleaned up"};
    for (std::size_t i = 0; i < stages.size(); ++i) {
      EXPECT_EQ(lines_[i].at("stage"), stages[i]);
    }
  }

  [[nodiscard]] std::int64_t more(std::size_t stage, const char* row) const {
    return lines_[stage].at(row).get<std::int64_t>() - lines_.front().at(row).get<std::int64_t>();
  }

  enum Stage : std::size_t { before, made, removed, cleaned, end };
  std::vector<json> lines_;
};

TEST_F(LabZombies, PagesKeepThemAndEachStageIsCounted) {
  for (const std::string pin : {"tmpfs", "page-cache"}) {
    SCOPED_TRACE(pin);
    ASSERT_NO_FATAL_FAILURE(run_through(pin));
    EXPECT_THAT(more(made, "kernel_total"), about(zombies_count));
    EXPECT_THAT(more(made, "visible"), about(zombies_count));
    EXPECT_THAT(more(removed, "kernel_total"), about(zombies_count));
    EXPECT_THAT(more(removed, "visible"), about(0));
    EXPECT_THAT(more(removed, "dying"), about(zombies_count));
    EXPECT_THAT(more(cleaned, "kernel_total"), about(0));
    EXPECT_GT(lines_[removed].at("slab_bytes"), lines_[before].at("slab_bytes"));
    EXPECT_GE(lines_[end].at("stayed"), zombies_count - others_count);
    expect_all_gone();
  }
}

TEST_F(LabZombies, CachedNamesAreMadeAndGo) {
  ASSERT_NO_FATAL_FAILURE(run_through("dentries"));
  EXPECT_THAT(more(made, "kernel_total"), about(zombies_count));
  // The kernel sums this count of its CPUs without a lock.
  EXPECT_GT(more(made, "dentries"), zombies_count / 2);
  EXPECT_THAT(more(cleaned, "kernel_total"), about(0));
  expect_all_gone();
}

TEST_F(LabZombies, SwapIsUsedOrItsWantIsSaid) {
  const base::Result<std::string> swaps = base::read_file("/proc/swaps");
  ASSERT_TRUE(swaps);
  if (std::count(swaps->begin(), swaps->end(), '\n') > 1) {
    ASSERT_NO_FATAL_FAILURE(run_through("swap"));
    EXPECT_GE(lines_[end].at("stayed"), zombies_count - others_count);
    EXPECT_GT(more(removed, "swap_used_bytes"), 0);
  } else {
    LabProcess lab(order("swap"));
    EXPECT_EQ(lab.exit_status(), exit_error);
    EXPECT_THAT(lab.messages(), testing::HasSubstr("this machine has no swap"));
  }
  expect_all_gone();
}

TEST_F(LabZombies, AreHeldUntilAStopAndThenGo) {
  LabProcess lab(order("tmpfs", true));
  wait_for_stage(lab, "removed");
  EXPECT_GE(cgroups(), cgroups_before_ + zombies_count - others_count);
  EXPECT_EQ(lab.wait_status_now(), std::nullopt) << "it did not hold them";
  lab.signal(SIGINT);
  wait_for_stage(lab, "cleaned up");
  static_cast<void>(lab.rest());
  EXPECT_EQ(lab.exit_status(), exit_clean);
  expect_all_gone();
}

TEST_F(LabZombies, AStopWhileTheyAreMadeLeavesNothing) {
  LabProcess lab({"zombies", "--count", "20000", "--json"});
  wait_for_stage(lab, "before");
  ASSERT_TRUE(eventually([&] { return pinned_bytes() > 1'000'000; }));
  lab.signal(SIGTERM);
  EXPECT_THAT(lab.rest(), testing::IsEmpty());
  EXPECT_EQ(lab.exit_status(), exit_error);
  EXPECT_THAT(lab.messages(), testing::HasSubstr("stopped by a signal"));
  expect_all_gone();
}

TEST_F(LabZombies, DownRemovesWhatAKilledOneLeftAtAnyStage) {
  for (const std::string pin : {"tmpfs", "page-cache", "dentries"}) {
    for (const std::string stage : {"created", "removed"}) {
      SCOPED_TRACE(pin + " " + stage);
      {
        LabProcess lab(order(pin, true));
        wait_for_stage(lab, stage);
        lab.signal(SIGKILL);
        ASSERT_EQ(lab.exit_status(), -SIGKILL);
      }
      EXPECT_THAT(left_pins(), testing::SizeIs(1)) << "nothing was left, so this test tests nothing";
      EXPECT_TRUE(std::filesystem::exists(hierarchy_.lab_cgroup()));
      LabProcess down({"down"});
      EXPECT_EQ(down.exit_status(), exit_clean) << down.messages();
      expect_all_gone();
    }
  }
}

TEST_F(LabZombies, RefusesTooManyAndWhatItDoesNotKnow) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"zombies", "--count", "65536"}, "--count"},
      {{"zombies", "--count", "0"}, "--count"},
      {{"zombies", "--pin", "ext4"}, "page-cache"},
  };
  expect_refused(cases);
}

}  // namespace
}  // namespace stallscope::cli
