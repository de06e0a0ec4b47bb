// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/owned_fd.h"
#include "base/result.h"

// Another host through the user's own ssh: its configuration, keys and questions.
namespace stallscope::cli {

/// How to get at stallscope there.
struct NodeAccess {
  /// What the user's ssh takes as destination: "node7", "root@10.0.1.2".
  std::string host;
  /// How the node calls stallscope.
  std::string program = "stallscope";
  /// Send this very program over first, and remove it afterwards.
  bool copy = false;
  /// Run it there by sudo, which must not ask for a password.
  bool sudo = false;
};

/// The host of "ssh:HOST". Errors name `option`.
[[nodiscard]] base::Result<std::string> parse_node(std::string_view option, const std::string& text);

/// A word of a POSIX shell's command line.
[[nodiscard]] std::string shell_word(std::string_view text);

/// `command` with the rights that the program gets there: files of a recorder are root's where it runs by sudo.
[[nodiscard]] std::string as_recorder(const NodeAccess& access, const std::string& command);

/// The command line for the node's shell that runs `command` until its standard input ends, and returns its exit status.
/// `command` gets SIGTERM then, and no input.
[[nodiscard]] std::string until_input_ends(const std::string& command);

/// For files on the node, without a suffix.
[[nodiscard]] base::Result<std::string> unguessable_name();

struct Pipe {
  base::OwnedFd read;
  base::OwnedFd write;

  [[nodiscard]] static base::Result<Pipe> open();
};

/// One run of ssh. What it writes to its standard error is kept.
class SshConnection {
 public:
  /// `input` and `output`: what the command on the node reads and writes. `doing` is for errors: "record on".
  [[nodiscard]] static base::Result<std::unique_ptr<SshConnection>> open(std::string doing, const std::string& host,
                                                                         const std::string& command, int input, int output);
  /// Ends the node's input and waits.
  ~SshConnection();
  SshConnection(const SshConnection&) = delete;
  SshConnection& operator=(const SshConnection&) = delete;
  SshConnection(SshConnection&&) = delete;
  SshConnection& operator=(SshConnection&&) = delete;

  /// For as long as this is open, the node's end reads.
  void hold_input(base::OwnedFd input) { input_ = std::move(input); }
  /// The command on the node ends soon, if it runs until its input does.
  void end_input() { input_.reset(); }

  /// Blocks until it says so on its standard error; an error where it ends before. Ctrl-C (InterruptGuard) ends the wait with an
  /// error.
  [[nodiscard]] base::Status wait_for(std::string_view what);

  /// Ends the node's input and waits for it. An error for any exit status above `most`.
  [[nodiscard]] base::Status finish(int most);

 private:
  SshConnection(std::string doing, std::string host, pid_t pid, base::OwnedFd errors)
      : doing_(std::move(doing)), host_(std::move(host)), pid_(pid), errors_(std::move(errors)) {}

  /// False once nothing more comes.
  bool read_some();

  std::string doing_;
  std::string host_;
  pid_t pid_ = -1;
  base::OwnedFd errors_;
  base::OwnedFd input_;
  std::string said_;
};

/// This program on another host: where it lies already, or a copy that goes when this does.
class NodeProgram {
 public:
  /// `name`: of the copy, if there is to be one. Blocks while it is sent.
  [[nodiscard]] static base::Result<NodeProgram> provide(NodeAccess access, std::string name);

  NodeProgram(NodeProgram&& other) noexcept;
  NodeProgram& operator=(NodeProgram&&) = delete;
  NodeProgram(const NodeProgram&) = delete;
  NodeProgram& operator=(const NodeProgram&) = delete;
  /// Removes the copy, as far as the node can still be reached.
  ~NodeProgram();

  /// To begin a command line with.
  [[nodiscard]] std::string command() const { return as_recorder(access_, access_.copy ? name_ : access_.program); }
  [[nodiscard]] const NodeAccess& access() const { return access_; }
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  NodeProgram(NodeAccess access, std::string name) : access_(std::move(access)), name_(std::move(name)) {}

  NodeAccess access_;
  std::string name_;
};

/// Runs `command` on the node and waits for it.
[[nodiscard]] base::Status run_on_node(const std::string& host, const std::string& command);

}  // namespace stallscope::cli
