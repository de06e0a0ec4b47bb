// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/catalogue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>

namespace stallscope::lab {
namespace {

TEST(Catalogue, IsInOrderOfIdsAndHasEachOnce) {
  std::vector<std::string_view> ids;
  for (const Fault* fault : faults()) {
    ids.push_back(fault->id);
  }
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
  EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), ids.size());
}

TEST(Catalogue, AFaultThatIsNotThereNamesThoseThatAre) {
  const base::Result<const Fault*> found = find_fault("no-such-fault");
  ASSERT_FALSE(found);
  for (const Fault* fault : faults()) {
    EXPECT_NE(found.error().hint.find(fault->id), std::string::npos) << fault->id;
    ASSERT_TRUE(find_fault(fault->id));
    EXPECT_EQ(*find_fault(fault->id), fault);
  }
}

class EachFault : public testing::TestWithParam<const Fault*> {};
INSTANTIATE_TEST_SUITE_P(Catalogue, EachFault, testing::ValuesIn(faults().begin(), faults().end()), [](const auto& tested) {
  std::string name(tested.param->id);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST_P(EachFault, IsWholeAndFitsALine) {
  const Fault& fault = *GetParam();
  EXPECT_NE(fault.run, nullptr);
  ASSERT_NE(fault.settings_for, nullptr);
  EXPECT_FALSE(fault.healthy_help.empty());
  EXPECT_FALSE(fault.expected_rule.empty());
  EXPECT_FALSE(fault.expected_mode.empty());
  EXPECT_FALSE(fault.summary.empty());
  EXPECT_LE(fault.summary.size(), 90U);
  EXPECT_FALSE(fault.summary.ends_with('.'));
}

TEST_P(EachFault, HasDefaultsWithinItsBounds) {
  const base::Result<Settings> settings = complete_settings(*GetParam(), std::nullopt, {});
  EXPECT_TRUE(settings) << settings.error().message();
}

TEST_P(EachFault, HasParametersWithNamesOfTheirOwn) {
  std::set<std::string_view> taken = {"cpu", "receive-cpu", "period", "for", "healthy", "help"};
  for (const Parameter& parameter : GetParam()->parameters) {
    EXPECT_TRUE(taken.insert(parameter.name).second) << parameter.name;
    EXPECT_FALSE(parameter.help.empty()) << parameter.name;
  }
}

TEST_P(EachFault, CanBeSetToEveryLength) {
  for (const std::int64_t length_ns : {shortest_length_ns, 100 * base::ns_per_ms, longest_length_ns}) {
    const Settings chosen = GetParam()->settings_for(length_ns);
    const base::Result<Settings> settings = complete_settings(*GetParam(), length_ns, {});
    EXPECT_TRUE(settings) << settings.error().message();
    for (const auto& [name, value] : chosen.values()) {
      EXPECT_TRUE(std::any_of(GetParam()->parameters.begin(), GetParam()->parameters.end(),
                              [&name = name](const Parameter& parameter) { return parameter.name == name; }))
          << name << " is not a parameter";
    }
  }
}

constexpr std::array<Parameter, 2> parameters = {{
    {.name = "weight", .help = "", .default_value = 5, .minimum = 1, .maximum = 100, .reason_for_bounds = "Because."},
    {.name = "hold", .help = "", .kind = ParameterKind::duration, .default_value = 20, .minimum = 10, .maximum = 2'000'000'000},
}};
constexpr Fault two_parameters{.id = "two",
                               .summary = "",
                               .expected_rule = "",
                               .expected_mode = "",
                               .healthy_help = "",
                               .parameters = parameters,
                               .settings_for =
                                   [](std::int64_t length_ns) {
                                     return Settings{{"weight", length_ns / 1'000'000}};
                                   },
                               .run = nullptr,
                               .remove_leftovers = nullptr};

TEST(CompleteSettings, WhatIsGivenGoesBeforeTheLengthAndThatBeforeTheDefault) {
  EXPECT_EQ(complete_settings(two_parameters, std::nullopt, {})->values(), Settings({{"weight", 5}, {"hold", 20}}).values());
  EXPECT_EQ(complete_settings(two_parameters, 50'000'000, {})->values(), Settings({{"weight", 50}, {"hold", 20}}).values());
  EXPECT_EQ(complete_settings(two_parameters, 50'000'000, {{"weight", 7}, {"hold", 30}})->values(),
            Settings({{"weight", 7}, {"hold", 30}}).values());
}

TEST(CompleteSettings, OutOfBoundsNamesTheOptionAndTheBounds) {
  const base::Result<Settings> settings = complete_settings(two_parameters, std::nullopt, {{"weight", 101}});
  ASSERT_FALSE(settings);
  EXPECT_EQ(settings.error().message(), "cannot use --weight 101: must be from 1 to 100\n  Because.");
  EXPECT_TRUE(complete_settings(two_parameters, std::nullopt, {{"weight", 100}, {"hold", 10}}));
  EXPECT_FALSE(complete_settings(two_parameters, std::nullopt, {{"hold", 9}}));
}

}  // namespace
}  // namespace stallscope::lab
