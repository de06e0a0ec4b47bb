// SPDX-License-Identifier: Apache-2.0
#include "cli/far_node.h"

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
#include <optional>
#include <string_view>
#include <utility>

#include "base/files.h"
#include "base/text.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/recorder.h"

namespace stallscope::cli {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;
using base::Status;

constexpr std::string_view scheme = "ssh:";
constexpr int poll_ms = 100;

/// A word of a POSIX shell's command line.
std::string shell_word(std::string_view text) {
  std::string word = "'";
  for (const char c : text) {
    word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return word + "'";
}

std::string bundle_on_node(const std::string& name) {
  return name + ".stall";
}

/// As root where --node-sudo says so: files of the recorder are root's then, too.
std::string as_recorder(const FarNodeOptions& options, const std::string& command) {
  return options.sudo ? "sudo -n " + command : command;
}

std::string program_on_node(const FarNodeOptions& options, const std::string& name) {
  return options.copy ? name : options.program;
}

/// The command line for the node's shell that records until its standard input ends.
std::string recorder_command(const FarNodeOptions& options, const std::string& name) {
  const std::string recorder =
      fmt::format("{} diagnose --echo-id {} --for {}ms --threshold {}us --json -o {}",
                  as_recorder(options, program_on_node(options, name)), options.echo_id, options.longest_ns / base::ns_per_ms,
                  options.wait_threshold_ns / base::ns_per_us, shell_word(bundle_on_node(name)));
  // The shell gives background commands no input, and lets them ignore SIGINT: hence descriptor 3, and SIGTERM.
  return fmt::format(
      "exec 3<&0; {} >/dev/null 3<&- & recorder=$!; {{ cat <&3; kill -TERM $recorder; }} >/dev/null 2>&1 & wait $recorder",
      recorder);
}

Result<std::string> unguessable_name() {
  std::uint64_t token = 0;
  if (getrandom(&token, sizeof token, 0) != static_cast<ssize_t>(sizeof token)) {
    return base::errno_error("draw", "a random file name", errno);
  }
  return fmt::format("/tmp/stallscope-{:016x}", token);
}

struct Pipe {
  OwnedFd read;
  OwnedFd write;

  [[nodiscard]] static Result<Pipe> open() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
      return base::errno_error("open", "a pipe", errno);
    }
    return Pipe{OwnedFd(ends[0]), OwnedFd(ends[1])};
  }
};

}  // namespace

/// One run of ssh. What it writes to its standard error is kept.
class FarNode::Connection {
 public:
  /// `input` and `output`: what the command on the node reads and writes.
  [[nodiscard]] static Result<std::unique_ptr<Connection>> open(const std::string& host, const std::string& command, int input,
                                                                int output) {
    Result<Pipe> errors = Pipe::open();
    if (!errors) {
      return errors.error();
    }
    posix_spawn_file_actions_t actions{};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, errors->write.get(), STDERR_FILENO);
    // Ctrl-C ends the recording in order, for which the connection is needed. After "--" no host can be an option.
    std::array<std::string, 6> words = {"sh", "-c", "trap '' INT; exec ssh -- \"$@\"", "ssh", host, command};
    std::array<char*, 7> arguments{};
    std::transform(words.begin(), words.end(), arguments.begin(), [](std::string& word) { return word.data(); });
    pid_t pid = 0;
    const int error = posix_spawnp(&pid, "sh", &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
      return base::errno_error("run", "ssh", error);
    }
    return std::unique_ptr<Connection>(new Connection(host, pid, std::move(errors->read)));
  }
  ~Connection() { static_cast<void>(finish(exit_clean)); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  Connection(Connection&&) = delete;
  Connection& operator=(Connection&&) = delete;

  /// For as long as this is open, the node's end reads.
  void hold_input(OwnedFd input) { input_ = std::move(input); }

  /// Whether it said so on its standard error; an error where it ended before.
  [[nodiscard]] Status wait_for(std::string_view what) {
    while (said_.find(what) == std::string::npos) {
      if (InterruptGuard::requested()) {
        return Error{"record on", host_, "interrupted before the node recorded", ""};
      }
      if (!read_some()) {
        const Status ended = finish(exit_clean);
        return ended ? Error{"record on", host_, "its recorder ended before it began", ""} : ended.error();
      }
    }
    return base::ok();
  }

  /// Ends the node's input and waits for it. An error for any exit status above `most`.
  [[nodiscard]] Status finish(int most) {
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
    return Error{"record on", host_, reason.empty() ? "ssh failed without a word" : base::printable(reason),
                 "Try: ssh " + host_ + " stallscope doctor. '--node-copy' brings the program along, '--node-sudo' makes it root."};
  }

 private:
  Connection(std::string host, pid_t pid, OwnedFd errors) : host_(std::move(host)), pid_(pid), errors_(std::move(errors)) {}

  /// False once nothing more comes.
  bool read_some() {
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

  std::string host_;
  pid_t pid_ = -1;
  OwnedFd errors_;
  OwnedFd input_;
  std::string said_;
};

Result<std::string> parse_node(const std::string& text) {
  const bool known = text.starts_with(scheme);
  const std::string host = known ? text.substr(scheme.size()) : "";
  if (host.empty() || host.starts_with('-')) {
    return Error{"understand", "--node " + text, "it is not ssh:HOST", "As in: --node ssh:root@10.0.1.2"};
  }
  return host;
}

FarNode::FarNode(FarNodeOptions options, std::string name, std::unique_ptr<Connection> recorder)
    : options_(std::move(options)), name_(std::move(name)), recorder_(std::move(recorder)) {}

FarNode::FarNode(FarNode&&) noexcept = default;

FarNode::~FarNode() {
  if (recorder_) {
    recorder_.reset();
    static_cast<void>(remove_files());
  }
}

Result<FarNode> FarNode::start(const FarNodeOptions& options) {
  const Result<std::string> name = unguessable_name();
  const Result<OwnedFd> nothing = base::open_file("/dev/null", O_RDWR);
  if (!name || !nothing) {
    return name ? nothing.error() : name.error();
  }
  if (options.copy) {
    const Result<OwnedFd> self = base::open_file("/proc/self/exe", O_RDONLY);
    if (!self) {
      return self.error();
    }
    const std::string receive = fmt::format("umask 077; set -C; cat >{0} && chmod 700 {0}", shell_word(*name));
    Result<std::unique_ptr<Connection>> copying = Connection::open(options.host, receive, self->get(), nothing->get());
    if (const Status copied = copying ? (*copying)->finish(exit_clean) : copying.error(); !copied) {
      return copied.error();
    }
  }
  Result<Pipe> input = Pipe::open();
  if (!input) {
    return input.error();
  }
  Result<std::unique_ptr<Connection>> recorder =
      Connection::open(options.host, recorder_command(options, *name), input->read.get(), nothing->get());
  if (!recorder) {
    return recorder.error();
  }
  (*recorder)->hold_input(std::move(input->write));
  FarNode node(options, *name, *std::move(recorder));
  if (const Status ready = node.recorder_->wait_for(recording_announcement); !ready) {
    return ready.error();
  }
  return node;
}

Status FarNode::remove_files() {
  const Result<OwnedFd> nothing = base::open_file("/dev/null", O_RDWR);
  if (!nothing) {
    return nothing.error();
  }
  const std::string remove = fmt::format("{}; rm -f {}", as_recorder(options_, "rm -f " + shell_word(bundle_on_node(name_))),
                                         options_.copy ? shell_word(name_) : "");
  Result<std::unique_ptr<Connection>> removing = Connection::open(options_.host, remove, nothing->get(), nothing->get());
  return removing ? (*removing)->finish(exit_clean) : removing.error();
}

Status FarNode::fetch(const std::string& path) {
  if (const Status ended = recorder_->finish(exit_findings); !ended) {
    return ended.error();
  }
  const Result<OwnedFd> nothing = base::open_file("/dev/null", O_RDWR);
  // As private as a bundle made here.
  const Result<OwnedFd> file = base::open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0640);
  if (!nothing || !file) {
    return nothing ? file.error() : nothing.error();
  }
  const std::string send = as_recorder(options_, "cat " + shell_word(bundle_on_node(name_)));
  Result<std::unique_ptr<Connection>> sending = Connection::open(options_.host, send, nothing->get(), file->get());
  return sending ? (*sending)->finish(exit_clean) : sending.error();
}

}  // namespace stallscope::cli
