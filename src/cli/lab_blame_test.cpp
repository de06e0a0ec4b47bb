// SPDX-License-Identifier: Apache-2.0
// The lab knows nothing of the diagnosis; that the two mean the same by an id is checked here.
#include <gtest/gtest.h>

#include <algorithm>

#include "diagnose/rules/rule.h"
#include "evidence/records.h"
#include "lab/faults/catalogue.h"

namespace stallscope::cli {
namespace {

TEST(LabBlame, EveryFaultIsBlamedOnARuleAndAWaitModeThatExistOrOnNoWait) {
  const std::span<const diagnose::rules::Rule> rules = diagnose::rules::all_rules();
  for (const lab::Fault* fault : lab::faults()) {
    EXPECT_TRUE(fault->expected_mode == lab::blames_nothing || evidence::wait_mode_from_id(fault->expected_mode)) << fault->id;
    EXPECT_TRUE(fault->expected_rule == lab::blames_nothing ||
                std::any_of(rules.begin(), rules.end(), [&](const auto& rule) { return rule.id == fault->expected_rule; }))
        << fault->id;
    // Not the other way round: some faults harm without making a packet wait.
    EXPECT_TRUE(fault->expected_rule != lab::blames_nothing || fault->expected_mode == lab::blames_nothing) << fault->id;
  }
}

}  // namespace
}  // namespace stallscope::cli
