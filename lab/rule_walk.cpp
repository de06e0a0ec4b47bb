// SPDX-License-Identifier: Apache-2.0
#include "lab/rule_walk.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/files.h"
#include "lab/culprit.h"
#include "lab/packet_path.h"

namespace stallscope::lab {
namespace {

using base::Result;
using base::Status;

/// A file that is gone with the process, for programs that take a path.
Result<base::OwnedFd> file_of(const std::string& text) {
  base::OwnedFd file(::memfd_create("stallscope-lab-rules", MFD_CLOEXEC));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(text.size())) != 0 ||
      ::pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return base::errno_error("write", "the rules", errno);
  }
  return file;
}

/// So that nobody else's turn on the CPU comes between the end of the walk and the clock that is read after it.
Status be_first_on_cpu() {
  const sched_param first{.sched_priority = 1};
  return ::sched_setscheduler(0, SCHED_FIFO, &first) == 0
             ? base::ok()
             : Status(base::errno_error("set", "the scheduling policy of the lab's process", errno));
}

Result<PreparedCulprit> prepare(const RuleWalkPlan& plan, const RunOptions& options) {
  Result<PacketPath> path = make_packet_path();
  if (!path) {
    return path.error();
  }
  const RuleWalk walk{.rules_count = options.settings.value(rule_walk_parameters[0]),
                      .walks_count = options.healthy ? 0 : options.settings.value(rule_walk_parameters[1])};
  const Result<base::OwnedFd> file = file_of(plan.rules_text(walk));
  if (!file) {
    return file.error();
  }
  if (Status loaded = plan.load(fmt::format("/proc/{}/fd/{}", ::getpid(), file->get())); !loaded) {
    return loaded.error();
  }
  if (Status first = be_first_on_cpu(); !first) {
    return first.error();
  }
  const auto shared = std::make_shared<PacketPath>(std::move(*path));
  return PreparedCulprit{[shared]() -> Result<Turn> {
    Result<Stall> stall = pass_packet(*shared);
    return stall ? Result<Turn>(Turn{{*std::move(stall)}}) : stall.error();
  }};
}

}  // namespace

Settings rule_walk_settings(std::int64_t length_ns) {
  return {{"walks", std::max<std::int64_t>(length_ns / rule_walk_ns, 1)}};
}

std::string address_in_list(std::int64_t index) {
  constexpr unsigned bits = 8;
  const auto number = static_cast<unsigned>(index);
  return fmt::format("198.{}.{}.{}", 18U + ((number >> (2 * bits)) & 1U), (number >> bits) & 0xffU, number & 0xffU);
}

Status run_rule_walk(const RuleWalkPlan& plan, const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  return run_culprit(
      {.fault = plan.fault, .options = options, .comm = plan.comm, .syscall = "sendto"}, [&] { return prepare(plan, options); },
      stop, output);
}

}  // namespace stallscope::lab
