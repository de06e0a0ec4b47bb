// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "base/text.h"
#include "diagnose/diagnose.h"
#include "diagnose/testing/scenarios.h"
#include "report/json.h"
#include "report/layout.h"
#include "report/text.h"

// Whole reports, compared with the files in golden/. To accept a change after reading it: STALLSCOPE_UPDATE_GOLDEN=1.
namespace stallscope::report {
namespace {

using diagnose::diagnose;
using evidence::Evidence;

struct Scenario {
  std::string name;
  Evidence (*make)();
};

std::ostream& operator<<(std::ostream& stream, const Scenario& scenario) {
  return stream << scenario.name;
}

TextOptions plain() {
  TextOptions options;
  options.bundle_path = "10.0.1.2-20261123T0304.stall";
  return options;
}

void expect_golden(const std::string& file, const std::string& actual) {
  const std::string path = std::string(STALLSCOPE_GOLDEN_DIR) + "/" + file;
  if (std::getenv("STALLSCOPE_UPDATE_GOLDEN") != nullptr) {  // NOLINT(concurrency-mt-unsafe)
    std::ofstream(path) << actual;
    return;
  }
  std::ifstream stream(path);
  ASSERT_TRUE(stream) << "no file " << path;
  std::stringstream expected;
  expected << stream.rdbuf();
  EXPECT_EQ(actual, expected.str());
}

class Golden : public ::testing::TestWithParam<Scenario> {};

TEST_P(Golden, text) {
  const Evidence evidence = GetParam().make();
  expect_golden(GetParam().name + ".txt", render_text(evidence, diagnose(evidence), plain()));
}

TEST_P(Golden, text_keeps_to_80_columns) {
  const Evidence evidence = GetParam().make();
  const std::string text = render_text(evidence, diagnose(evidence), plain());
  for (const std::string_view line : base::split(text, '\n')) {
    EXPECT_LE(display_width(line), 80U) << line;
    EXPECT_FALSE(line.ends_with(' ')) << line;
  }
}

INSTANTIATE_TEST_SUITE_P(Scenarios, Golden,
                         ::testing::Values(Scenario{"incident", diagnose::testing::incident},
                                           Scenario{"healthy_zombies", diagnose::testing::healthy_zombies},
                                           Scenario{"stall_without_wait", diagnose::testing::stall_without_wait},
                                           Scenario{"own_lateness", diagnose::testing::own_lateness},
                                           Scenario{"loss_only", diagnose::testing::loss_only},
                                           Scenario{"two_causes", diagnose::testing::two_causes},
                                           Scenario{"passive", diagnose::testing::passive},
                                           Scenario{"remote", diagnose::testing::remote},
                                           Scenario{"lost_events", diagnose::testing::lost_events},
                                           Scenario{"throttled_server", diagnose::testing::throttled_server},
                                           Scenario{"hostile_names", diagnose::testing::hostile_names}),
                         [](const ::testing::TestParamInfo<Scenario>& parameter) { return parameter.param.name; });

TEST(GoldenJson, two_causes) {
  const Evidence evidence = diagnose::testing::two_causes();
  expect_golden("two_causes.json", render_json(evidence, diagnose(evidence)));
}

}  // namespace
}  // namespace stallscope::report
