// SPDX-License-Identifier: Apache-2.0
#include "cli/far_node.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <utility>

#include "base/files.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/recorder.h"

namespace stallscope::cli {
namespace {

using base::OwnedFd;
using base::Result;
using base::Status;

std::string bundle_on_node(const NodeProgram& program) {
  return program.name() + ".stall";
}

/// The command line for the node's shell that records until its standard input ends.
std::string recorder_command(const FarNodeOptions& options, const NodeProgram& program) {
  const std::string tcp = options.tcp_port ? fmt::format(" --tcp {}", *options.tcp_port) : "";
  return until_input_ends(fmt::format("{} diagnose --echo-id {}{} --for {}ms --threshold {}us --json -o {} >/dev/null",
                                      program.command(), options.echo_id, tcp, options.longest_ns / base::ns_per_ms,
                                      options.wait_threshold_ns / base::ns_per_us, shell_word(bundle_on_node(program))));
}

}  // namespace

FarNode::FarNode(NodeProgram program, std::unique_ptr<SshConnection> recorder)
    : program_(std::move(program)), recorder_(std::move(recorder)) {}

FarNode::FarNode(FarNode&&) noexcept = default;

FarNode::~FarNode() {
  if (recorder_) {
    recorder_.reset();
    static_cast<void>(
        run_on_node(program_.access().host, as_recorder(program_.access(), "rm -f " + shell_word(bundle_on_node(program_)))));
  }
}

Result<FarNode> FarNode::start(const FarNodeOptions& options) {
  Result<std::string> name = unguessable_name();
  const Result<OwnedFd> nothing = base::open_file("/dev/null", O_RDWR);
  if (!name || !nothing) {
    return name ? nothing.error() : name.error();
  }
  Result<NodeProgram> program = NodeProgram::provide(options.node, *std::move(name));
  if (!program) {
    return program.error();
  }
  Result<Pipe> input = Pipe::open();
  if (!input) {
    return input.error();
  }
  Result<std::unique_ptr<SshConnection>> recorder =
      SshConnection::open("record on", options.node.host, recorder_command(options, *program), input->read.get(), nothing->get());
  if (!recorder) {
    return recorder.error();
  }
  (*recorder)->hold_input(std::move(input->write));
  FarNode node(*std::move(program), *std::move(recorder));
  if (const Status ready = node.recorder_->wait_for(recording_announcement); !ready) {
    return ready.error();
  }
  return node;
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
  const std::string send = as_recorder(program_.access(), "cat " + shell_word(bundle_on_node(program_)));
  Result<std::unique_ptr<SshConnection>> sending =
      SshConnection::open("fetch the recording from", program_.access().host, send, nothing->get(), file->get());
  return sending ? (*sending)->finish(exit_clean) : sending.error();
}

}  // namespace stallscope::cli
