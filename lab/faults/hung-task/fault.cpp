// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/hung-task/fault.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/files.h"
#include "base/numbers.h"
#include "base/owned_fd.h"
#include "base/units.h"
#include "lab/child_process.h"
#include "lab/culprit.h"
#include "lab/wait_for.h"

namespace stallscope::lab::hung_task {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;
using base::Status;

constexpr const char* victim_comm = "lab-hung";
constexpr std::int64_t page_bytes = 4096;
constexpr std::int64_t patience_ns = 5 * base::ns_per_s;

constexpr std::array<Parameter, 1> parameters = {{
    {.name = "blocked",
     .help = "How long the task is blocked each time",
     .kind = ParameterKind::duration,
     .default_value = 20 * base::ns_per_s,
     .minimum = base::ns_per_ms,
     .maximum = 60 * base::ns_per_s,
     .reason_for_bounds = "After 120 s, unless it is set otherwise, the kernel takes it for hung."},
}};

Error lacks_userfaultfd(int error) {
  return {"run fault", std::string(fault.id), "this kernel lacks userfaultfd: " + base::errno_error("", "", error).reason,
          "It needs CONFIG_USERFAULTFD and CAP_SYS_PTRACE."};
}

/// A page that is never there: whoever reads it sleeps until it is killed. It lasts as long as the process.
Result<const char*> make_missing_page() {
  const OwnedFd handler(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC)));
  if (!handler) {
    return lacks_userfaultfd(errno);
  }
  uffdio_api api{};
  api.api = UFFD_API;
  void* const page = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    return base::errno_error("map", "a page", errno);
  }
  uffdio_register range{};
  // The interface of ioctl_userfaultfd(2).
  range.range.start = reinterpret_cast<__u64>(page);  // NOLINT(cppcoreguidelines-pro-type-reinterpret-cast)
  range.range.len = page_bytes;
  range.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (::ioctl(handler.get(), UFFDIO_API, &api) != 0 || ::ioctl(handler.get(), UFFDIO_REGISTER, &range) != 0) {
    return lacks_userfaultfd(errno);
  }
  // Kept open on purpose: closing it would provide the page.
  static_cast<void>(::fcntl(handler.get(), F_DUPFD_CLOEXEC, 0));
  return static_cast<const char*>(page);
}

/// Takes the lock of the file and sleeps with it until it is killed.
Result<ChildProcess> start_holder(const OwnedFd& file) {
  Result<ChildProcess> holder = ChildProcess::start("lab-holder", [&](const ReportPipe&) -> Status {
    const Result<const char*> page = make_missing_page();
    if (!page) {
      return page.error();
    }
    return ::write(file.get(), *page, page_bytes) == page_bytes ? base::ok() : Status(base::errno_error("write", "a file", errno));
  });
  if (!holder) {
    return holder;
  }
  const std::string place = fmt::format("/proc/{}/wchan", holder->pid());
  const bool holds = wait_for(patience_ns, [&] {
    const Result<std::string> function = base::read_file(place);
    return !function || function->empty() || *function == "handle_userfault";
  });
  const Result<std::string> function = base::read_file(place);
  if (!holds || !function || *function != "handle_userfault") {
    // It ended, and knows why.
    Status ended = holds ? holder->finish() : Status(Error{"hold", "the lock of a file", "it took too long", ""});
    return ended ? Error{"hold", "the lock of a file", "the write was not held up", ""} : ended.error();
  }
  return holder;
}

Result<ChildProcess> start_victim(const OwnedFd& file) {
  return ChildProcess::start(victim_comm, [&](const ReportPipe& reports) -> Status {
    if (Status sent = reports.send(fmt::format("{}", base::monotonic_ns())); !sent) {
      return sent;
    }
    if (::ftruncate(file.get(), page_bytes) != 0) {
      return base::errno_error("cut", "a file", errno);
    }
    return reports.send(fmt::format("{}", base::monotonic_ns()));
  });
}

/// The next time the victim tells of.
Result<std::int64_t> next_time(ChildProcess& victim) {
  std::string line;
  const bool told = victim.next_line(line, -1, base::monotonic_ns() + patience_ns) == ChildProcess::Event::line;
  const std::optional<std::int64_t> time_ns = told ? base::parse_number<std::int64_t>(line) : std::nullopt;
  return time_ns ? Result<std::int64_t>(*time_ns) : Error{"block", victim_comm, "it did not report in time", ""};
}

bool stop_is_pending() {
  sigset_t pending;
  sigemptyset(&pending);
  static_cast<void>(::sigpending(&pending));
  return sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1;
}

Result<Turn> block_once(const OwnedFd& file, std::int64_t blocked_ns, bool healthy) {
  std::optional<ChildProcess> holder;
  if (!healthy) {
    Result<ChildProcess> started = start_holder(file);
    if (!started) {
      return started.error();
    }
    holder.emplace(std::move(*started));
  }
  Result<ChildProcess> victim = start_victim(file);
  if (!victim) {
    return victim.error();
  }
  const pid_t victim_pid = victim->pid();
  const Result<std::int64_t> start_ns = next_time(*victim);
  if (start_ns && !healthy) {
    wait_for(blocked_ns, stop_is_pending);
  }
  // Kills it, and so lets the victim go on. Before anything waits for the victim.
  holder.reset();
  const Result<std::int64_t> end_ns = start_ns ? next_time(*victim) : start_ns;
  if (!end_ns) {
    return end_ns.error();
  }
  if (Status finished = victim->finish(); !finished) {
    return finished.error();
  }
  return Turn{{{.start_ns = *start_ns, .end_ns = *end_ns, .extras = {{"pid", victim_pid}, {"comm", victim_comm}}}}};
}

/// A machine that would panic is not the place to try it.
Status check_panic(std::int64_t blocked_ns) {
  const auto read = [](const char* path) -> std::optional<std::int64_t> {
    const Result<std::string> text = base::read_file(path);
    return text ? base::parse_number<std::int64_t>(text->substr(0, text->find('\n'))) : std::nullopt;
  };
  const std::int64_t panic = read("/proc/sys/kernel/hung_task_panic").value_or(0);
  const std::int64_t timeout_s = read("/proc/sys/kernel/hung_task_timeout_secs").value_or(0);
  if (panic != 0 && timeout_s > 0 && blocked_ns >= timeout_s * base::ns_per_s / 2) {
    return Error{"run fault", std::string(fault.id),
                 fmt::format("this kernel panics when a task hangs for {} s (kernel.hung_task_panic)", timeout_s),
                 "Ask for less with --blocked."};
  }
  return base::ok();
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  const std::int64_t blocked_ns = options.settings.value(parameters[0]);
  if (Status safe = check_panic(blocked_ns); !safe) {
    return safe;
  }
  return run_culprit(
      {.fault = fault, .options = options, .comm = "lab-hanger", .syscall = "ftruncate", .count_name = "hangs"},
      [&]() -> Result<PreparedCulprit> {
        auto file = std::make_shared<OwnedFd>(::memfd_create("stallscope", MFD_CLOEXEC));
        if (!*file) {
          return base::errno_error("make", "a file in memory", errno);
        }
        return PreparedCulprit{[file, blocked_ns, healthy = options.healthy] { return block_once(*file, blocked_ns, healthy); }};
      },
      stop, output);
}

Settings settings_for(std::int64_t length_ns) {
  return {{"blocked", length_ns}};
}

}  // namespace

constexpr Fault fault = {
    .id = "hung-task",
    .summary = "a task sleeps uninterruptibly for a set time, by a lock that is not let go of",
    .expected_rule = blames_nothing,
    .expected_mode = blames_nothing,
    .healthy_help = "the same call, while nobody holds the lock",
    .parameters = parameters,
    .settings_for = settings_for,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::hung_task
