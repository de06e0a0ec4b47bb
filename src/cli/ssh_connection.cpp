// SPDX-License-Identifier: Apache-2.0
#include "cli/ssh_connection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include "base/files.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/interrupt.h"

namespace stallscope::cli {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;
using base::Status;

constexpr std::string_view scheme = "ssh:";
constexpr int poll_ms = 100;

}  // namespace

Result<std::string> parse_node(std::string_view option, const std::string& text) {
  const bool known = text.starts_with(scheme);
  const std::string host = known ? text.substr(scheme.size()) : "";
  if (host.empty() || host.starts_with('-')) {
    return Error{"understand", fmt::format("{} {}", option, text), "it is not ssh:HOST",
                 fmt::format("As in: {} ssh:root@10.0.1.2", option)};
  }
  return host;
}

std::string shell_word(std::string_view text) {
  std::string word = "'";
  for (const char c : text) {
    word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return word + "'";
}

std::string as_recorder(const NodeAccess& access, const std::string& command) {
  return access.sudo ? "sudo -n " + command : command;
}

std::string until_input_ends(const std::string& command) {
  // The shell gives background commands no input, and lets them ignore SIGINT: hence descriptor 3, and SIGTERM.
  return fmt::format("exec 3<&0; {} 3<&- & command=$!; {{ cat <&3; kill -TERM $command; }} >/dev/null 2>&1 & wait $command",
                     command);
}

Result<std::string> unguessable_name() {
  std::uint64_t token = 0;
  if (getrandom(&token, sizeof token, 0) != static_cast<ssize_t>(sizeof token)) {
    return base::errno_error("draw", "a random file name", errno);
  }
  return fmt::format("/tmp/stallscope-{:016x}", token);
}

Result<Pipe> Pipe::open() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return base::errno_error("open", "a pipe", errno);
  }
  return Pipe{OwnedFd(ends[0]), OwnedFd(ends[1])};
}

Result<std::unique_ptr<SshConnection>> SshConnection::open(std::string doing, const std::string& host, const std::string& command,
                                                           int input, int output) {
  Result<Pipe> errors = Pipe::open();
  if (!errors) {
    return errors.error();
  }
  posix_spawn_file_actions_t actions{};
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, errors->write.get(), STDERR_FILENO);
  // Ctrl-C ends what runs there in order, for which the connection is needed. After "--" no host can be an option.
  std::array<std::string, 6> words = {"sh", "-c", "trap '' INT; exec ssh -- \"$@\"", "ssh", host, command};
  std::array<char*, 7> arguments{};
  std::transform(words.begin(), words.end(), arguments.begin(), [](std::string& word) { return word.data(); });
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, "sh", &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return base::errno_error("run", "ssh", error);
  }
  return std::unique_ptr<SshConnection>(new SshConnection(std::move(doing), host, pid, std::move(errors->read)));
}

SshConnection::~SshConnection() {
  static_cast<void>(finish(exit_clean));
}

Status SshConnection::wait_for(std::string_view what) {
  while (said_.find(what) == std::string::npos) {
    if (InterruptGuard::requested()) {
      return Error{doing_, host_, "interrupted before the node was ready", ""};
    }
    if (!read_some()) {
      const Status ended = finish(exit_clean);
      return ended ? Error{doing_, host_, "it ended there before it began", ""} : ended.error();
    }
  }
  return base::ok();
}

Status SshConnection::finish(int most) {
  if (pid_ < 0) {
    return base::ok();
  }
  input_.reset();
  while (read_some()) {
  }
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) <= most) {
    return base::ok();
  }
  std::string reason = said_.substr(0, said_.find_last_not_of('\n') + 1);
  std::replace(reason.begin(), reason.end(), '\n', ' ');
  return Error{doing_, host_, reason.empty() ? "ssh failed without a word" : base::printable(reason),
               "Try: ssh " + host_ + " stallscope doctor. '--node-copy' brings the program along, '--node-sudo' makes it root."};
}

bool SshConnection::read_some() {
  pollfd ready{errors_.get(), POLLIN, 0};
  if (::poll(&ready, 1, poll_ms) == 0) {
    return true;
  }
  std::array<char, 4096> chunk{};
  const ssize_t got = ::read(errors_.get(), chunk.data(), chunk.size());
  if (got < 0) {
    return errno == EINTR;
  }
  // Enough for any message.
  if (constexpr std::size_t most = 65'536; said_.size() < most) {
    said_.append(chunk.data(), static_cast<std::size_t>(got));
  }
  return got > 0;
}

Result<NodeProgram> NodeProgram::provide(NodeAccess access, std::string name) {
  if (access.copy) {
    const Result<OwnedFd> self = base::open_file("/proc/self/exe", O_RDONLY);
    const Result<OwnedFd> nothing = base::open_file("/dev/null", O_RDWR);
    if (!self || !nothing) {
      return self ? nothing.error() : self.error();
    }
    const std::string receive = fmt::format("umask 077; set -C; cat >{0} && chmod 700 {0}", shell_word(name));
    Result<std::unique_ptr<SshConnection>> copying =
        SshConnection::open("copy the program to", access.host, receive, self->get(), nothing->get());
    if (const Status copied = copying ? (*copying)->finish(exit_clean) : copying.error(); !copied) {
      return copied.error();
    }
  }
  return NodeProgram(std::move(access), std::move(name));
}

NodeProgram::NodeProgram(NodeProgram&& other) noexcept
    : access_(std::exchange(other.access_, NodeAccess{})), name_(std::move(other.name_)) {}

NodeProgram::~NodeProgram() {
  if (access_.copy) {
    static_cast<void>(run_on_node(access_.host, "rm -f " + shell_word(name_)));
  }
}

Status run_on_node(const std::string& host, const std::string& command) {
  const Result<OwnedFd> nothing = base::open_file("/dev/null", O_RDWR);
  if (!nothing) {
    return nothing.error();
  }
  Result<std::unique_ptr<SshConnection>> running =
      SshConnection::open("run a command on", host, command, nothing->get(), nothing->get());
  return running ? (*running)->finish(exit_clean) : running.error();
}

}  // namespace stallscope::cli
