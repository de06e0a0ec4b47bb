// SPDX-License-Identifier: Apache-2.0
#include "lab/ground_truth.h"

#include <gtest/gtest.h>

#include <array>

namespace stallscope::lab {
namespace {

constexpr std::array<Parameter, 2> parameters = {
    {{.name = "zombies", .help = "", .default_value = 7}, {.name = "hold-up", .help = "", .kind = ParameterKind::duration}}};
constexpr Fault fault{.id = "some-fault",
                      .summary = "",
                      .expected_rule = "some-rule",
                      .expected_mode = "some_mode",
                      .healthy_help = "",
                      .parameters = parameters,
                      .settings_for = nullptr,
                      .run = nullptr,
                      .remove_leftovers = nullptr};
const Culprit culprit{&fault, 4121, 1, "lab-some", "read", "/a/file"};

TEST(GroundTruth, AStallSaysWhereWhenWhoAndWhatToBlame) {
  const std::string line = stall_line(culprit, {.start_ns = 2'000, .end_ns = 102'000});
  EXPECT_EQ(line, R"({"type":"stall","fault":"some-fault","cpu":1,"start_ns":2000,"end_ns":102000,"length_ns":100000,"pid":4121,)"
                  R"("comm":"lab-some","syscall":"read","file":"/a/file","mode":"some_mode","rule":"some-rule"})");
}

TEST(GroundTruth, AFaultAddsFieldsAndReplacesCommonOnes) {
  const Json line = Json::parse(stall_line(culprit, {.extras = {{"cpu", 3}, {"flushed_by", "reader"}}}));
  EXPECT_EQ(line.at("cpu"), 3);
  EXPECT_EQ(line.at("flushed_by"), "reader");
  EXPECT_EQ(line.at("pid"), 4121);
}

TEST(GroundTruth, AControlBlamesNothing) {
  const Json line = Json::parse(control_line(culprit, {}));
  EXPECT_EQ(line.at("type"), "control");
  EXPECT_EQ(line.at("mode"), "none");
  EXPECT_EQ(line.at("rule"), "none");
}

TEST(GroundTruth, WithoutASystemCallThereIsNoneAndNoFile) {
  const Json line = Json::parse(stall_line({&fault, 4121, 1, "lab-some", "", ""}, {}));
  EXPECT_TRUE(line.at("syscall").is_null());
  EXPECT_TRUE(line.at("file").is_null());
}

TEST(GroundTruth, ReadyHasTheSettingsAndEndTheCount) {
  RunOptions options{.settings = {{"hold-up", 30}}, .period_ns = 1'000'000'000};
  EXPECT_EQ(ready_line(culprit, options, {{"kernel_total", 514}}),
            R"({"type":"ready","fault":"some-fault","zombies":7,"hold_up_ns":30,"healthy":false,"period_ns":1000000000,"cpu":1,)"
            R"("pid":4121,"target":"10.0.1.2","client_netns":"stallscope-client","kernel_total":514})");
  EXPECT_EQ(end_line(20), R"({"type":"end","stalls":20})");
  EXPECT_EQ(end_line(20, "reads"), R"({"type":"end","reads":20})");
}

}  // namespace
}  // namespace stallscope::lab
