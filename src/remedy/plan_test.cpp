// SPDX-License-Identifier: Apache-2.0
#include "remedy/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "diagnose/diagnose.h"
#include "diagnose/testing/scenarios.h"
#include "remedy/kernel_fixes.h"

namespace stallscope::remedy {
namespace {

using evidence::Evidence;
using ::testing::HasSubstr;

std::vector<std::string> ids_of(const FindingPlan& finding) {
  std::vector<std::string> ids;
  for (const Option& option : finding.options) {
    ids.push_back(option.id);
  }
  return ids;
}

Plan plan_of(const Evidence& evidence) {
  return make_plan(evidence, diagnose::diagnose(evidence));
}

Option option_named(const Plan& plan, std::string_view id) {
  for (const FindingPlan& finding : plan.findings) {
    for (const Option& option : finding.options) {
      if (option.id == id) {
        return option;
      }
    }
  }
  return {};
}

TEST(Plan, OfTheIncidentPutsTheReaderFirstAndDropCachesLast) {
  const Plan plan = plan_of(diagnose::testing::incident());
  ASSERT_EQ(plan.findings.front().rule_id, "memcg-stat-flush");
  const std::vector<std::string> ids = ids_of(plan.findings.front());
  ASSERT_GE(ids.size(), 4U);
  EXPECT_EQ(ids[0], "slow-reader");
  EXPECT_EQ(ids[1], "stop-reader");
  EXPECT_EQ(ids.back(), "drop-caches");
  EXPECT_THAT(option_named(plan, "stop-reader").commands.front(), HasSubstr("--pid 4121"));
  EXPECT_THAT(option_named(plan, "stop-reader").title, HasSubstr("every 5"));
}

TEST(Plan, GivesUpContentOnlyWhereThereIsNoOtherWay) {
  Evidence evidence = diagnose::testing::incident();
  EXPECT_EQ(option_named(plan_of(evidence), "punch-file").risk, Risk::high);
  EXPECT_TRUE(option_named(plan_of(evidence), "reclaim").id.empty()) << "pages of tmpfs cannot be reclaimed without swap";
  evidence.pinning_files.front().filesystem = "ext4";
  const Plan on_disk = plan_of(evidence);
  EXPECT_TRUE(option_named(on_disk, "punch-file").id.empty());
  EXPECT_EQ(option_named(on_disk, "drop-file-cache").risk, Risk::low);
  EXPECT_EQ(option_named(on_disk, "reclaim").id, "reclaim");
}

TEST(Plan, DoesNotDropCachesForWhatZombiesHaveNoPartIn) {
  Evidence evidence = diagnose::testing::incident();
  // The same zombies, while something else stalls: a stack with nothing of cgroups on it, and no file that was read.
  for (evidence::WaitRecord& wait : evidence.waits) {
    for (evidence::Occupant& occupant : wait.occupants) {
      occupant.file = "/dev/null";
      occupant.stack_id = 0;
    }
  }
  evidence.flushes.clear();
  const Plan plan = plan_of(evidence);
  ASSERT_FALSE(plan.findings.empty());
  EXPECT_NE(plan.findings.front().rule_id, "memcg-stat-flush");
  for (const std::string& id : ids_of(plan.findings.front())) {
    EXPECT_NE(id, "drop-caches");
    EXPECT_NE(id, "drain-node");
  }
}

TEST(Plan, QuotesNamesForTheShell) {
  Evidence evidence = diagnose::testing::incident();
  evidence.pinning_files.front().path = "/dev/shm/it's $(here)";
  EXPECT_THAT(option_named(plan_of(evidence), "punch-file").commands.front(), HasSubstr(R"('/dev/shm/it'\''s $(here)')"));
}

TEST(Plan, ActsOnNoFileWithoutAName) {
  Evidence evidence = diagnose::testing::incident();
  evidence.pinning_files.front().path = "/dev/shm/pins (deleted)";
  EXPECT_TRUE(option_named(plan_of(evidence), "punch-file").id.empty());
}

TEST(Plan, HarmlessZombiesGetAPlanAndAQuietHostNone) {
  const Plan zombies = plan_of(diagnose::testing::healthy_zombies());
  ASSERT_EQ(zombies.findings.size(), 1U);
  EXPECT_EQ(zombies.findings.front().rule_id, "zombies");
  EXPECT_TRUE(plan_of(diagnose::testing::quiet_run()).findings.empty());
}

TEST(Plan, EveryOptionSaysAllThatIsPromised) {
  for (const Evidence& evidence :
       {diagnose::testing::incident(), diagnose::testing::two_causes(), diagnose::testing::healthy_zombies()}) {
    for (const FindingPlan& finding : plan_of(evidence).findings) {
      for (const Option& option : finding.options) {
        for (const std::string& text : {option.title, option.risk_reason, option.effect, option.basis, option.undo, option.check}) {
          EXPECT_FALSE(text.empty()) << option.id;
        }
        EXPECT_FALSE(option.commands.empty()) << option.id;
      }
    }
  }
}

TEST(Plan, TextAndJsonKeepHostileNamesHarmless) {
  const Plan plan = plan_of(diagnose::testing::hostile_names());
  EXPECT_EQ(plan_text(plan).find('\x1b'), std::string::npos);
  EXPECT_FALSE(nlohmann::json::parse(plan_json(plan)).at("findings").is_null());
}

TEST(FixesAfter, NamesOnlyWhatTheReleaseDoesNotHave) {
  EXPECT_EQ(fixes_after("memcg-stat-flush", "4.9.0-6-amd64").size(), 6U);
  EXPECT_EQ(fixes_after("memcg-stat-flush", "6.8.0").size(), 1U);
  EXPECT_TRUE(fixes_after("memcg-stat-flush", "6.15").empty());
  EXPECT_TRUE(fixes_after("memcg-stat-flush", "unknown").empty());
}

}  // namespace
}  // namespace stallscope::remedy
