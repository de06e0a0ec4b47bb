// SPDX-License-Identifier: Apache-2.0
// What holds for every fault of the catalogue, caused for real.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <string>
#include <vector>

#include "cli/lab_fixture.h"
#include "lab/faults/catalogue.h"

namespace stallscope::cli {
namespace {

class EveryFault : public LabCommand, public testing::WithParamInterface<const lab::Fault*> {
 protected:
  [[nodiscard]] static std::vector<std::string> run(const char* duration, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"run",   std::string(GetParam()->id), "--length", "20ms", "--period", "200ms", "--for",
                                          duration};
    // Tens of thousands of them take long to make, and prove nothing more here.
    for (const lab::Parameter& parameter : GetParam()->parameters) {
      if (parameter.name == "zombies") {
        arguments.insert(arguments.end(), {"--zombies", "2000"});
      }
    }
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  /// Everything a run prints that is stopped after its first stall, or control: how long that takes is up to the machine.
  static std::vector<json> lines_of_a_short_run(LabProcess& lab) {
    std::vector<json> lines;
    while (lines.size() < 2) {
      std::optional<json> line = lab.next();
      if (!line) {
        return lines;
      }
      lines.push_back(std::move(*line));
    }
    lab.signal(SIGTERM);
    for (json& line : lab.rest()) {
      lines.push_back(std::move(line));
    }
    return lines;
  }

  static bool kernel_lacks(LabProcess& lab) { return lab.messages().find("this kernel lacks") != std::string::npos; }

  static void expect_framed(const std::vector<json>& lines, const std::string& type_start) {
    ASSERT_GE(lines.size(), 3U);
    EXPECT_EQ(lines.front().at("type"), "ready");
    EXPECT_EQ(lines.front().at("fault"), GetParam()->id);
    EXPECT_EQ(lines.back().at("type"), "end");
    std::int64_t last_end_ns = 0;
    for (std::size_t i = 1; i + 1 < lines.size(); ++i) {
      const json& line = lines[i];
      EXPECT_THAT(line.at("type").get<std::string>(), testing::StartsWith(type_start));
      for (const char* field : {"fault", "cpu", "pid", "comm", "syscall", "file", "mode", "rule"}) {
        EXPECT_TRUE(line.contains(field)) << field;
      }
      EXPECT_EQ(line.at("length_ns").get<std::int64_t>(),
                line.at("end_ns").get<std::int64_t>() - line.at("start_ns").get<std::int64_t>());
      EXPECT_GE(line.at("start_ns").get<std::int64_t>(), last_end_ns);
      last_end_ns = line.at("end_ns").get<std::int64_t>();
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Lab, EveryFault, testing::ValuesIn(lab::faults().begin(), lab::faults().end()), [](const auto& tested) {
  std::string name(tested.param->id);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST_P(EveryFault, SaysWhatItCausedAndWhatToBlame) {
  LabProcess lab(run("60s"));
  const std::vector<json> lines = lines_of_a_short_run(lab);
  if (lab.exit_status() != exit_clean) {
    ASSERT_TRUE(kernel_lacks(lab));
    GTEST_SKIP() << "this kernel lacks what the fault needs";
  }
  expect_framed(lines, "stall");
  for (std::size_t i = 1; i + 1 < lines.size(); ++i) {
    EXPECT_EQ(lines[i].at("mode"), GetParam()->expected_mode);
    EXPECT_EQ(lines[i].at("rule"), GetParam()->expected_rule);
  }
  expect_all_gone();
}

TEST_P(EveryFault, HasAControlThatIsToBeBlamedOnNothing) {
  LabProcess lab(run("60s", {"--healthy"}));
  const std::vector<json> lines = lines_of_a_short_run(lab);
  if (lab.exit_status() != exit_clean) {
    ASSERT_TRUE(kernel_lacks(lab));
    GTEST_SKIP() << "this kernel lacks what the fault needs";
  }
  expect_framed(lines, "control");
  EXPECT_EQ(lines.at(1).at("mode"), "none");
  EXPECT_EQ(lines.at(1).at("rule"), "none");
  expect_all_gone();
}

TEST_P(EveryFault, LeavesNothingThatDownDoesNotRemoveWhenItIsKilled) {
  LabProcess lab(run("60s"));
  const std::optional<json> ready = lab.next();
  if (!ready) {
    ASSERT_TRUE(kernel_lacks(lab));
    GTEST_SKIP() << "this kernel lacks what the fault needs";
  }
  ASSERT_TRUE(lab.next());
  lab.signal(SIGKILL);
  EXPECT_EQ(lab.exit_status(), -SIGKILL);
  EXPECT_TRUE(eventually([] { return process_names().empty(); }));
  LabProcess down({"down"});
  EXPECT_EQ(down.exit_status(), exit_clean) << down.messages();
  expect_all_gone();
}

/// Faults that spin for the time that was asked for.
class ExactFault : public EveryFault {};
INSTANTIATE_TEST_SUITE_P(Lab, ExactFault,
                         testing::Values(*lab::find_fault("bh-off-section"), *lab::find_fault("irq-off-section"),
                                         *lab::find_fault("napi-thread-starved"), *lab::find_fault("slow-tc"),
                                         *lab::find_fault("slow-xdp"), *lab::find_fault("softirq-vector")),
                         [](const auto& tested) {
                           std::string name(tested.param->id);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(ExactFault, StallsAsLongAsAskedAndItsControlDoesNot) {
  constexpr std::int64_t asked_ns = 20 * base::ns_per_ms;
  LabProcess lab(run("60s"));
  const std::vector<json> stalls = lines_of_a_short_run(lab);
  if (lab.exit_status() != exit_clean) {
    ASSERT_TRUE(kernel_lacks(lab));
    GTEST_SKIP() << "this kernel lacks what the fault needs";
  }
  LabProcess healthy(run("60s", {"--healthy"}));
  const std::vector<json> controls = lines_of_a_short_run(healthy);
  ASSERT_GE(stalls.size(), 3U);
  ASSERT_GE(controls.size(), 3U);
  // Never shorter. How much longer is up to who else wants the CPU, a hypervisor for one.
  EXPECT_GE(stalls[1].at("length_ns"), asked_ns);
  EXPECT_LT(controls[1].at("length_ns"), asked_ns / 2);
  EXPECT_EQ(stalls[1].at("cpu"), 0);
}

}  // namespace
}  // namespace stallscope::cli
