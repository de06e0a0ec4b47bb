// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/owned_fd.h"
#include "base/units.h"
#include "cli/commands.h"
#include "lab/memory_hierarchy.h"
#include "lab/mounts.h"
#include "lab/pin_file.h"

namespace stallscope::cli {
namespace {

using nlohmann::json;

constexpr std::int64_t patience_ns = 60 * base::ns_per_s;

/// `stallscope lab ...` in a process of its own, which is what signals are sent to.
class LabProcess {
 public:
  explicit LabProcess(std::vector<std::string> arguments) {
    std::array<int, 2> out{};
    std::array<int, 2> err{};
    EXPECT_EQ(::pipe2(out.data(), O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(err.data(), O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(out[1], STDOUT_FILENO);
      ::dup2(err[1], STDERR_FILENO);
      arguments.insert(arguments.begin(), "lab");
      ::_exit(run_command(std::move(arguments)));
    }
    out_ = base::OwnedFd(out[0]);
    err_ = base::OwnedFd(err[0]);
    ::close(out[1]);
    ::close(err[1]);
  }
  ~LabProcess() {
    if (pid_ > 0) {
      ::kill(pid_, SIGTERM);
      static_cast<void>(wait());
    }
  }
  LabProcess(const LabProcess&) = delete;
  LabProcess& operator=(const LabProcess&) = delete;
  LabProcess(LabProcess&&) = delete;
  LabProcess& operator=(LabProcess&&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }

  /// The next line of the ground truth; none once the output has ended.
  std::optional<json> next() {
    std::string line;
    char c = 0;
    while (::read(out_.get(), &c, 1) == 1) {
      if (c == '\n') {
        return json::parse(line);
      }
      line += c;
    }
    return std::nullopt;
  }
  std::vector<json> rest() {
    std::vector<json> lines;
    while (std::optional<json> line = next()) {
      lines.push_back(*line);
    }
    return lines;
  }
  /// The status of waitpid(2).
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }
  int exit_status() {
    const int status = wait();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  std::string messages() {
    std::string text;
    std::array<char, 4096> chunk{};
    while (const ssize_t got = ::read(err_.get(), chunk.data(), chunk.size())) {
      text.append(chunk.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    }
    return text;
  }

 private:
  static int run_command(std::vector<std::string> arguments) {
    CLI::App app;
    int exit_status = exit_error;
    add_lab_command(app, exit_status);
    try {
      std::reverse(arguments.begin(), arguments.end());
      app.parse(arguments);
    } catch (const CLI::ParseError& error) {
      app.exit(error);
      return exit_error;
    }
    static_cast<void>(std::fflush(stdout));
    return exit_status;
  }

  pid_t pid_ = -1;
  base::OwnedFd out_;
  base::OwnedFd err_;
};

std::vector<std::string> process_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "comm");
    std::string name;
    if (std::getline(file, name) && name.starts_with("lab-")) {
      names.push_back(name);
    }
  }
  return names;
}

class LabCommand : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::geteuid(), 0U) << "the lab needs root; leave out the tests labelled system";
    const base::Result<lab::MemoryHierarchy> hierarchy = lab::find_memory_hierarchy();
    ASSERT_TRUE(hierarchy) << hierarchy.error().message();
    hierarchy_ = *hierarchy;
    const base::Result<std::vector<lab::Mount>> mounts = lab::read_mounts();
    ASSERT_TRUE(mounts);
    const base::Result<std::string> pin_path = lab::choose_pin_path(*mounts);
    ASSERT_TRUE(pin_path);
    pin_path_ = *pin_path;
    expect_nothing_there();
    cgroups_before_ = cgroups();
  }

  void TearDown() override { EXPECT_EQ(LabProcess({"down"}).exit_status(), exit_clean); }

  [[nodiscard]] std::int64_t cgroups() const {
    const base::Result<std::int64_t> count = lab::count_memory_cgroups(hierarchy_);
    EXPECT_TRUE(count);
    return count ? *count : -1;
  }

  void expect_nothing_there() const {
    for (const char* name : {"client", "node", "pod"}) {
      EXPECT_FALSE(std::filesystem::exists(std::string("/run/netns/stallscope-") + name)) << name;
    }
    EXPECT_FALSE(std::filesystem::exists(hierarchy_.lab_cgroup()));
    EXPECT_FALSE(std::filesystem::exists(pin_path_));
    EXPECT_FALSE(std::filesystem::exists("/run/stallscope-lab.lock"));
    EXPECT_THAT(process_names(), testing::IsEmpty());
  }

  /// Nothing under the lab's names, and the kernel counts no more memory cgroups than before, but for a few that the machine
  /// itself may have made meanwhile.
  void expect_all_gone() const {
    constexpr std::int64_t of_the_machine = 50;
    expect_nothing_there();
    EXPECT_LT(cgroups(), cgroups_before_ + of_the_machine);
  }

  [[nodiscard]] std::int64_t pinned_bytes() const {
    struct stat status {};
    return ::stat(pin_path_.c_str(), &status) == 0 ? status.st_size : 0;
  }

  static testing::AssertionResult eventually(const std::function<bool()>& condition) {
    const std::int64_t deadline_ns = base::monotonic_ns() + patience_ns;
    while (!condition()) {
      if (base::monotonic_ns() > deadline_ns) {
        return testing::AssertionFailure() << "the condition did not come about";
      }
      ::poll(nullptr, 0, 1);
    }
    return testing::AssertionSuccess();
  }

  lab::MemoryHierarchy hierarchy_;
  std::string pin_path_;
  std::int64_t cgroups_before_ = 0;
};

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
  EXPECT_EQ(lines.front().at("zombies"), 5'000);
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
      {{"up", "--receive-cpu", "-1"}, "--receive-cpu -1"},
  };
  for (const auto& [arguments, named] : cases) {
    LabProcess lab(arguments);
    EXPECT_EQ(lab.exit_status(), exit_error) << named;
    EXPECT_THAT(lab.messages(), testing::HasSubstr(named));
  }
  expect_all_gone();
}

}  // namespace
}  // namespace stallscope::cli
