// SPDX-License-Identifier: Apache-2.0
#include "host/program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <optional>

#include "base/owned_fd.h"

namespace stallscope::host {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;

/// Owns the two attribute blocks of posix_spawn.
class SpawnSetup {
 public:
  SpawnSetup(int output, int errors) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions_, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions_, errors, STDERR_FILENO);
    posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setpgroup(&attributes_, 0);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  }
  ~SpawnSetup() {
    posix_spawnattr_destroy(&attributes_);
    posix_spawn_file_actions_destroy(&actions_);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
  SpawnSetup(SpawnSetup&&) = delete;
  SpawnSetup& operator=(SpawnSetup&&) = delete;

  [[nodiscard]] const posix_spawn_file_actions_t* actions() const { return &actions_; }
  [[nodiscard]] const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

std::optional<std::string> find_program(const std::string& name) {
  for (const char* directory : {"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"}) {
    if (::access((directory + name).c_str(), X_OK) == 0) {
      return directory + name;
    }
  }
  return std::nullopt;
}

/// What a program wrote into the memory file, up to a bound that any message of interest fits in.
std::string written_to(const OwnedFd& file) {
  std::array<char, 65536> text{};
  const ssize_t got = ::pread(file.get(), text.data(), text.size(), 0);
  return {text.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
}

std::string failure_reason(int status, const OwnedFd& errors) {
  std::string reason = written_to(errors);
  while (!reason.empty() && reason.back() == '\n') {
    reason.pop_back();
  }
  if (!reason.empty()) {
    return reason;
  }
  return WIFSIGNALED(status) ? fmt::format("killed by signal {}", WTERMSIG(status))
                             : fmt::format("exit status {}", WEXITSTATUS(status));
}

}  // namespace

Result<std::string> run_program(const std::vector<std::string>& arguments) {
  const std::string command = fmt::format("{}", fmt::join(arguments, " "));
  const std::optional<std::string> program = arguments.empty() ? std::nullopt : find_program(arguments.front());
  if (!program) {
    return Error{"run", command, "no such program in /usr/sbin, /usr/bin, /sbin or /bin",
                 arguments.empty() || arguments.front() != "ip" ? "" : "Install it: apt-get install iproute2"};
  }
  // Files in memory rather than pipes: neither side can block on the other.
  const OwnedFd output(memfd_create("output", MFD_CLOEXEC));
  const OwnedFd errors(memfd_create("errors", MFD_CLOEXEC));
  if (!output || !errors) {
    return base::errno_error("run", command, errno);
  }
  std::vector<std::string> copies = arguments;
  std::vector<char*> vector;
  vector.reserve(copies.size() + 1);
  for (std::string& argument : copies) {
    vector.push_back(argument.data());
  }
  vector.push_back(nullptr);
  const SpawnSetup setup(output.get(), errors.get());
  pid_t pid = 0;
  if (const int error = posix_spawn(&pid, program->c_str(), setup.actions(), setup.attributes(), vector.data(), environ);
      error != 0) {
    return base::errno_error("run", command, error);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) {
      return base::errno_error("wait for", command, errno);
    }
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return Error{"run", command, failure_reason(status, errors), ""};
  }
  return written_to(output);
}

}  // namespace stallscope::host
