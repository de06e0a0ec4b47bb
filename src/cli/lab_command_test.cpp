// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "base/files.h"
#include "cli/lab_fixture.h"
#include "lab/topology.h"

namespace stallscope::cli {
namespace {

std::vector<std::string> small_run(const char* duration) {
  return {"run", "memcg-stat-flush", "--zombies", "500", "--period", "100ms", "--for", duration};
}

TEST_F(LabCommand, ARunPrintsTheGroundTruthAndLeavesNothing) {
  LabProcess lab(small_run("300ms"));
  const pid_t lab_pid = lab.pid();
  const std::vector<json> lines = lab.rest();
  EXPECT_EQ(lab.exit_status(), exit_clean) << lab.messages();
  ASSERT_GE(lines.size(), 3U);
  EXPECT_EQ(lines.front().at("type"), "ready");
  EXPECT_EQ(lines.front().at("zombies"), 500);
  EXPECT_GE(lines.front().at("kernel_total"), 500 + 3);  // The root, the lab's and the reader's.
  EXPECT_EQ(lines.back().at("type"), "end");
  EXPECT_EQ(lines.back().at("reads"), lines.size() - 2);
  for (std::size_t i = 1; i + 1 < lines.size(); ++i) {
    EXPECT_EQ(lines[i].at("type"), "stall");
    EXPECT_EQ(lines[i].at("fault"), "memcg-stat-flush");
    EXPECT_EQ(lines[i].at("comm"), "lab-reader");
    EXPECT_EQ(lines[i].at("syscall"), "read");
    EXPECT_EQ(lines[i].at("mode"), "hard_irqs_off");
    EXPECT_EQ(lines[i].at("rule"), "memcg-stat-flush");
    EXPECT_THAT(lines[i].at("flushed_by"), testing::AnyOf("reader", "kernel-worker"));
    EXPECT_EQ(lines[i].at("window_end_ns"), lines[i].at("end_ns"));
    EXPECT_EQ(lines[i].at("cpu"), 0);
    EXPECT_EQ(lines[i].at("file"), hierarchy_.lab_cgroup() + "/memory.stat");
    EXPECT_NE(lines[i].at("pid"), lab_pid);
    EXPECT_EQ(lines[i].at("pid"), lines.front().at("pid"));
    EXPECT_EQ(lines[i].at("length_ns").get<std::int64_t>(),
              lines[i].at("end_ns").get<std::int64_t>() - lines[i].at("start_ns").get<std::int64_t>());
  }
  expect_all_gone();
}

TEST_F(LabCommand, ALengthSetsTheParameters) {
  LabProcess lab({"run", "memcg-stat-flush", "--length", "10ms", "--period", "100ms", "--for", "100ms"});
  const std::vector<json> lines = lab.rest();
  EXPECT_EQ(lab.exit_status(), exit_clean) << lab.messages();
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines.front().at("zombies"), 10'000);
  expect_all_gone();
}

TEST_F(LabCommand, TheControlReadsWithoutStalls) {
  std::vector<std::string> arguments = small_run("300ms");
  arguments.emplace_back("--healthy");
  LabProcess lab(arguments);
  const std::vector<json> lines = lab.rest();
  EXPECT_EQ(lab.exit_status(), exit_clean);
  ASSERT_GE(lines.size(), 3U);
  EXPECT_EQ(lines[1].at("type"), "control-read");
  expect_all_gone();
}

TEST_F(LabCommand, ASignalWhileTheZombiesAreMadeEndsItInOrder) {
  LabProcess lab({"run", "memcg-stat-flush", "--zombies", "20000"});
  ASSERT_TRUE(eventually([&] { return pinned_bytes() > 1'000'000; }));
  lab.signal(SIGTERM);
  EXPECT_THAT(lab.rest(), testing::IsEmpty());
  EXPECT_EQ(lab.exit_status(), exit_error);
  EXPECT_THAT(lab.messages(), testing::HasSubstr("stopped by a signal"));
  expect_all_gone();
}

TEST_F(LabCommand, ASignalWhileItReadsEndsItInOrder) {
  LabProcess lab(small_run("60s"));
  ASSERT_EQ(lab.next().value_or(json()).value("type", ""), "ready");
  ASSERT_EQ(lab.next().value_or(json()).value("type", ""), "stall");
  lab.signal(SIGINT);
  const std::vector<json> lines = lab.rest();
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines.back().at("type"), "end");
  EXPECT_EQ(lab.exit_status(), exit_clean);
  expect_all_gone();
}

TEST_F(LabCommand, AStopThatComesWhileALineIsWrittenIsObeyed) {
  LabProcess run({"run", "irq-off-section", "--cpu", "0", "--length", "1ms", "--period", "20ms", "--for", "60s"});
  ASSERT_TRUE(run.next());
  run.take_one_line_at_a_time();
  // A line is unread, so that the next one, which comes 20 ms later, waits to be written.
  constexpr int ten_periods_ms = 200;
  int unread_bytes = 0;
  int unchanged_ms = 0;
  ASSERT_TRUE(eventually([&] {
    const int before = std::exchange(unread_bytes, run.unread_bytes());
    unchanged_ms = unread_bytes > 0 && unread_bytes == before ? unchanged_ms + 1 : 0;
    return unchanged_ms > ten_periods_ms;
  }));
  run.signal(SIGTERM);
  ASSERT_TRUE(eventually([&] { return !run.has_pending(SIGTERM); }));
  // Forgotten, it would go on for as long as it was to run.
  EXPECT_LT(run.rest().size(), 1'500U);
  EXPECT_EQ(run.exit_status(), exit_clean);
}

TEST_F(LabCommand, TheNextRunRemovesWhatAKilledOneLeft) {
  {
    LabProcess lab(small_run("60s"));
    ASSERT_EQ(lab.next().value_or(json()).value("type", ""), "ready");
    lab.signal(SIGKILL);
    ASSERT_EQ(lab.exit_status(), -SIGKILL);
  }
  EXPECT_GT(pinned_bytes(), 0) << "nothing was left, so this test tests nothing";
  LabProcess next(small_run("200ms"));
  EXPECT_EQ(next.rest().back().at("type"), "end");
  EXPECT_EQ(next.exit_status(), exit_clean) << next.messages();
  expect_all_gone();
}

TEST_F(LabCommand, DownRemovesWhatARunKilledWhileItMadeZombiesLeft) {
  {
    LabProcess lab({"run", "memcg-stat-flush", "--zombies", "20000"});
    ASSERT_TRUE(eventually([&] { return pinned_bytes() > 1'000'000; }));
    lab.signal(SIGKILL);
    ASSERT_EQ(lab.exit_status(), -SIGKILL);
  }
  EXPECT_TRUE(std::filesystem::exists(hierarchy_.lab_cgroup()));
  LabProcess down({"down"});
  EXPECT_EQ(down.exit_status(), exit_clean) << down.messages();
  expect_all_gone();
}

TEST_F(LabCommand, ARunLeavesTheTopologyThatIsUp) {
  EXPECT_EQ(LabProcess({"up"}).exit_status(), exit_clean);
  LabProcess lab(small_run("100ms"));
  static_cast<void>(lab.rest());
  EXPECT_EQ(lab.exit_status(), exit_clean);
  EXPECT_TRUE(std::filesystem::exists("/run/netns/stallscope-node"));
  EXPECT_EQ(LabProcess({"down"}).exit_status(), exit_clean);
  expect_all_gone();
}

/// What the node's n0 says of its NAPI.
std::string threaded_napi() {
  std::string text;
  const base::Status read = lab::in_namespace(lab::node_netns, [&] {
    const base::Result<std::string> file = base::read_file("/sys/class/net/n0/threaded");
    text = file ? *file : file.error().message();
    return base::ok();
  });
  return read ? text : read.error().message();
}

TEST_F(LabCommand, ANapiThreadGoesWithItsRunWhereTheTopologyStays) {
  EXPECT_EQ(LabProcess({"up"}).exit_status(), exit_clean);
  ASSERT_EQ(threaded_napi(), "0\n");
  {
    LabProcess lab({"run", "slab-shrink", "--zombies", "10", "--for", "60s"});
    ASSERT_EQ(lab.next().value_or(json()).value("type", ""), "ready") << lab.messages();
    EXPECT_EQ(threaded_napi(), "1\n");
    lab.signal(SIGTERM);
    EXPECT_EQ(lab.exit_status(), exit_clean);
    EXPECT_EQ(threaded_napi(), "0\n");
  }
  {
    LabProcess lab({"run", "slab-shrink", "--zombies", "10", "--for", "60s"});
    ASSERT_EQ(lab.next().value_or(json()).value("type", ""), "ready") << lab.messages();
    lab.signal(SIGKILL);
    ASSERT_EQ(lab.exit_status(), -SIGKILL);
    EXPECT_EQ(threaded_napi(), "1\n") << "nothing was left, so this test tests nothing";
  }
  EXPECT_EQ(LabProcess({"up"}).exit_status(), exit_clean);
  EXPECT_EQ(threaded_napi(), "0\n");
  EXPECT_EQ(LabProcess({"down"}).exit_status(), exit_clean);
  expect_all_gone();
}

TEST_F(LabCommand, AHungTaskIsFreedByTheSignalThatEndsItsRun) {
  LabProcess lab({"run", "hung-task", "--blocked", "60s", "--for", "60s", "--period", "100ms"});
  ASSERT_EQ(lab.next().value_or(json()).value("type", ""), "ready") << lab.messages();
  ASSERT_TRUE(eventually([] {
    const std::vector<std::string> names = process_names();
    return std::find(names.begin(), names.end(), "lab-hung") != names.end();
  }));
  lab.signal(SIGTERM);
  const std::vector<json> lines = lab.rest();
  EXPECT_EQ(lab.exit_status(), exit_clean) << lab.messages();
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines.front().at("syscall"), "ftruncate");
  EXPECT_EQ(lines.front().at("comm"), "lab-hung");
  expect_all_gone();
}

/// How far the turns of two faults are from each other, as a part of the period: 0 to 0.5.
double phase(const json& a, const json& b, std::int64_t period_ns) {
  const std::int64_t apart_ns = std::abs(a.at("start_ns").get<std::int64_t>() - b.at("start_ns").get<std::int64_t>()) % period_ns;
  return static_cast<double>(std::min(apart_ns, period_ns - apart_ns)) / static_cast<double>(period_ns);
}

TEST_F(LabCommand, TwoFaultsAtOnceTakeTurnsAndLeaveNothing) {
  constexpr std::int64_t period_ns = 400 * base::ns_per_ms;
  LabProcess lab({"run", "irq-off-section+softirq-vector", "--length", "20ms", "--period", "400ms", "--for", "2s"});
  const std::vector<json> lines = lab.rest();
  if (lab.exit_status() != exit_clean) {
    ASSERT_THAT(lab.messages(), testing::HasSubstr("this kernel lacks"));
    GTEST_SKIP() << "this kernel lacks what the faults need";
  }
  const auto of = [&](const char* type, const char* fault) {
    std::vector<json> found;
    std::copy_if(lines.begin(), lines.end(), std::back_inserter(found),
                 [&](const json& line) { return line.at("type") == type && (fault == nullptr || line.at("fault") == fault); });
    return found;
  };
  EXPECT_EQ(of("ready", nullptr).size(), 2U);
  EXPECT_EQ(of("end", nullptr).size(), 2U);
  const std::vector<json> irqs_off = of("stall", "irq-off-section");
  const std::vector<json> softirq = of("stall", "softirq-vector");
  ASSERT_FALSE(irqs_off.empty());
  ASSERT_FALSE(softirq.empty());
  EXPECT_EQ(irqs_off.front().at("rule"), "irq-off-section");
  EXPECT_EQ(softirq.front().at("rule"), "softirq-vector");
  // Half a period, less what a busy machine adds to either.
  EXPECT_GT(phase(irqs_off.front(), softirq.front(), period_ns), 0.25);
  expect_all_gone();
}

TEST_F(LabCommand, TwoFaultsAtOnceAreStoppedAndKilledLikeOne) {
  const std::vector<std::string> arguments = {"run", "accept-overflow+unread-socket", "--period", "100ms", "--for", "60s"};
  {
    LabProcess lab(arguments);
    ASSERT_TRUE(lab.next()) << lab.messages();
    lab.signal(SIGTERM);
    EXPECT_EQ(lab.rest().back().value("type", ""), "end");
    EXPECT_EQ(lab.exit_status(), exit_clean);
    expect_all_gone();
  }
  LabProcess lab(arguments);
  ASSERT_TRUE(lab.next());
  ASSERT_TRUE(lab.next());
  lab.signal(SIGKILL);
  EXPECT_EQ(lab.exit_status(), -SIGKILL);
  EXPECT_TRUE(eventually([] { return process_names().empty(); }));
  EXPECT_EQ(LabProcess({"down"}).exit_status(), exit_clean);
  expect_all_gone();
}

TEST_F(LabCommand, AServerIsThrottledAsLongAsAskedWhereItsRequestMeetsAWholePeriod) {
  LabProcess lab({"run", "cfs-throttled", "--length", "60ms", "--period", "500ms", "--for", "2s"});
  const std::vector<json> lines = lab.rest();
  if (lab.exit_status() != exit_clean) {
    ASSERT_THAT(lab.messages(), testing::HasSubstr("this kernel lacks"));
    GTEST_SKIP() << "this kernel lacks what the fault needs";
  }
  EXPECT_EQ(lines.front().at("quota_period_ns"), 72 * base::ns_per_ms);
  std::int64_t longest_ns = 0;
  for (const json& line : lines) {
    longest_ns = std::max(longest_ns, line.value("length_ns", std::int64_t{0}));
    if (line.at("type") == "stall") {
      EXPECT_GT(line.at("answer_ns"), line.at("length_ns"));
    }
  }
  // The kernel looks at the tick whether the quota is used up: the rest of the period can be shorter by that.
  EXPECT_GE(longest_ns, 45 * base::ns_per_ms);
  expect_all_gone();
}

TEST_F(LabCommand, ASecondLabNamesTheFirst) {
  LabProcess first(small_run("60s"));
  ASSERT_EQ(first.next().value_or(json()).value("type", ""), "ready");
  LabProcess second(small_run("1s"));
  EXPECT_EQ(second.exit_status(), exit_error);
  EXPECT_THAT(second.messages(), testing::HasSubstr("process " + std::to_string(first.pid())));
}

TEST_F(LabCommand, AFileOfSomebodyElseIsLeftAlone) {
  ASSERT_EQ(::symlink("/etc/hostname", pin_path_.c_str()), 0);
  LabProcess lab(small_run("1s"));
  EXPECT_EQ(lab.exit_status(), exit_error);
  EXPECT_THAT(lab.messages(), testing::HasSubstr(pin_path_));
  EXPECT_TRUE(std::filesystem::is_symlink(pin_path_));
  ASSERT_EQ(::unlink(pin_path_.c_str()), 0);
  expect_all_gone();
}

TEST_F(LabCommand, BadInputIsRefusedBeforeAnythingIsMade) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"run", "no-such-fault"}, "memcg-stat-flush"},
      {{"run", "no-such-fault", "--zombies", "5"}, "no-such-fault"},
      {{"run"}, "memcg-stat-flush"},
      {{"run", "memcg-stat-flush", "--length", "501ms"}, "--length 501ms"},
      {{"run", "memcg-stat-flush", "--zombies", "60001"}, "--zombies 60001"},
      {{"run", "memcg-stat-flush", "--for", "0"}, "--for 0"},
      {{"run", "memcg-stat-flush", "--period", "1y"}, "--period 1y"},
      {{"run", "memcg-stat-flush", "--cpu", "99999"}, "--cpu 99999"},
      {{"run", "irq-off-section+no-such-fault"}, "no-such-fault"},
      {{"run", "irq-off-section+irq-off-section"}, "beside itself"},
      {{"run", "memcg-stat-flush+numa-stat-read"}, "zombie"},
      {{"run", "irq-off-section+softirq-vector", "--zombies", "5"}, "--zombies"},
      {{"run", "irq-off-section+softirq-vector", "--length", "501ms"}, "--length 501ms"},
      {{"up", "--receive-cpu", "-1"}, "--receive-cpu -1"},
  };
  expect_refused(cases);
}

}  // namespace
}  // namespace stallscope::cli
