// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/owned_fd.h"
#include "base/units.h"
#include "cli/commands.h"
#include "host/cgroups.h"
#include "host/mounts.h"
#include "lab/memory_hierarchy.h"
#include "lab/pins.h"
#include "lab/undo.h"

namespace stallscope::cli {

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
    // What this process has not written yet, the child would write into the pipe.
    static_cast<void>(std::fflush(stdout));
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
  /// The ground truth is written only while none of it is unread.
  void take_one_line_at_a_time() const {
    constexpr int one_page = 4096;
    EXPECT_EQ(::fcntl(out_.get(), F_SETPIPE_SZ, one_page), one_page);
  }
  /// Whether a signal was sent that it has not taken yet.
  [[nodiscard]] bool has_pending(int number) const {
    constexpr std::string_view label = "ShdPnd:\t";
    std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with(label)) {
        constexpr int hexadecimal = 16;
        return ((std::stoull(line.substr(label.size()), nullptr, hexadecimal) >> static_cast<unsigned>(number - 1)) & 1U) != 0;
      }
    }
    ADD_FAILURE() << "the process is gone";
    return false;
  }
  [[nodiscard]] int unread_bytes() const {
    int count = 0;
    EXPECT_EQ(::ioctl(out_.get(), FIONREAD, &count), 0);
    return count;
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
  /// As wait(), where it has ended already.
  std::optional<int> wait_status_now() {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != pid_) {
      return std::nullopt;
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

inline std::vector<std::string> process_names() {
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
    const base::Result<std::vector<host::Mount>> mounts = host::read_mounts();
    ASSERT_TRUE(mounts);
    const base::Result<lab::PinPlace> pins = lab::choose_pin_place(lab::PinKind::tmpfs, *mounts);
    ASSERT_TRUE(pins);
    pin_path_ = pins->path;
    expect_nothing_there();
    cgroups_before_ = cgroups();
  }

  void TearDown() override { EXPECT_EQ(LabProcess({"down"}).exit_status(), exit_clean); }

  [[nodiscard]] std::int64_t cgroups() const {
    const base::Result<std::int64_t> count = lab::count_memory_cgroups(hierarchy_);
    EXPECT_TRUE(count);
    return count ? *count : -1;
  }

  [[nodiscard]] static std::vector<std::string> left_pins() {
    std::vector<std::string> paths;
    const base::Result<std::vector<host::Mount>> mounts = host::read_mounts();
    EXPECT_TRUE(mounts);
    for (const lab::PinPlace& place : lab::find_left_pins(mounts ? *mounts : std::vector<host::Mount>())) {
      paths.push_back(place.path);
    }
    return paths;
  }

  void expect_nothing_there() const {
    for (const char* name : {"client", "node", "pod"}) {
      EXPECT_FALSE(std::filesystem::exists(std::string("/run/netns/stallscope-") + name)) << name;
    }
    EXPECT_FALSE(std::filesystem::exists(hierarchy_.lab_cgroup()));
    EXPECT_FALSE(std::filesystem::exists(host::find_cgroups({}, "cpu").mount_point + "/stallscope-throttled"));
    EXPECT_THAT(left_pins(), testing::IsEmpty());
    EXPECT_FALSE(std::filesystem::exists("/run/stallscope-lab.lock"));
    EXPECT_FALSE(std::filesystem::exists(lab::undo_directory));
    EXPECT_THAT(process_names(), testing::IsEmpty());
  }

  /// Each of these command lines, with an error that names what is wrong, and nothing left.
  void expect_refused(const std::vector<std::pair<std::vector<std::string>, std::string>>& cases) const {
    for (const auto& [arguments, named] : cases) {
      LabProcess lab(arguments);
      EXPECT_EQ(lab.exit_status(), exit_error) << named;
      EXPECT_THAT(lab.messages(), testing::HasSubstr(named));
    }
    expect_all_gone();
  }

  /// Nothing under the lab's names, and the kernel counts no more memory cgroups than before, but for a few that the machine
  /// itself may have made meanwhile.
  void expect_all_gone() const {
    constexpr std::int64_t of_the_machine = 50;
    expect_nothing_there();
    // The kernel frees what nothing holds any more by and by.
    EXPECT_TRUE(eventually([this] { return cgroups() < cgroups_before_ + of_the_machine; }))
        << cgroups() << " of " << cgroups_before_;
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

}  // namespace stallscope::cli
