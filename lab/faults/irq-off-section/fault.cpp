// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/irq-off-section/fault.h"

#include <fcntl.h>
#include <irq_off_section.skel.h>
#include <irq_off_timer.skel.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>
#include <memory>

#include "base/files.h"
#include "lab/bpf_programs.h"
#include "lab/culprit.h"
#include "lab/kernel_needs.h"

namespace stallscope::lab::irq_off_section {
namespace {

using base::OwnedFd;
using base::Result;
using base::Status;

constexpr const char* written_file = "/dev/null";

constexpr std::array<Parameter, 1> parameters = {{
    {.name = "length",
     .help = "How long interrupts are off",
     .kind = ParameterKind::duration,
     .default_value = 100 * base::ns_per_ms,
     .minimum = base::ns_per_ms,
     .maximum = longest_length_ns,
     .reason_for_bounds = "For longer the machine itself would suffer."},
}};

constexpr std::array<KernelNeed, 3> switch_needs = {{
    {KernelNeed::Kind::function, "bpf_local_irq_save", "Linux 6.14"},
    {KernelNeed::Kind::function, "bpf_local_irq_restore", "Linux 6.14"},
    {KernelNeed::Kind::tracepoint, "sys_enter", "Linux 5.5"},
}};
constexpr std::array<KernelNeed, 2> timer_needs = {{
    {KernelNeed::Kind::function, "bpf_loop", "Linux 5.17"},
    {KernelNeed::Kind::tracepoint, "hrtimer_start", "Linux 5.5"},
}};

/// Attached for one call only: the culprit's others, of its reports and its schedule, are its own affair.
template <typename Programs>
Result<Turn> call_with(Programs& programs, const std::function<Status()>& call) {
  const int error = Programs::attach(&programs);
  const Status done = error == 0 ? call() : Status(program_error(fault, "attach", -error));
  Programs::detach(&programs);
  if (!done) {
    return done.error();
  }
  return Turn{{{.start_ns = static_cast<std::int64_t>(programs.bss->started_ns),
                .end_ns = static_cast<std::int64_t>(programs.bss->ended_ns)}}};
}

template <typename Programs>
Result<std::shared_ptr<Programs>> open_programs(const RunOptions& options) {
  const std::shared_ptr<Programs> programs(Programs::open(), &Programs::destroy);
  if (!programs) {
    return program_error(fault, "open", errno);
  }
  programs->rodata->culprit_tgid = static_cast<__u32>(::getpid());
  programs->rodata->length_ns = static_cast<__u64>(options.settings.value(parameters[0]));
  programs->rodata->healthy = options.healthy ? 1 : 0;
  return programs;
}

template <typename Programs>
Status load(Programs& programs) {
  const int error = Programs::load(&programs);
  return error == 0 ? base::ok() : Status(program_error(fault, "load", -error));
}

Result<PreparedCulprit> prepare_write(const RunOptions& options) {
  Result<OwnedFd> file = base::open_file(written_file, O_WRONLY);
  if (!file) {
    return file.error();
  }
  const Result<std::shared_ptr<irq_off_section_bpf>> programs = open_programs<irq_off_section_bpf>(options);
  if (!programs) {
    return programs.error();
  }
  (*programs)->rodata->syscall_number = SYS_write;
  if (Status loaded = load(**programs); !loaded) {
    return loaded.error();
  }
  const auto written = std::make_shared<OwnedFd>(std::move(*file));
  return PreparedCulprit{[programs = *programs, written] {
    return call_with(*programs, [&]() -> Status {
      return ::write(written->get(), "", 1) == 1 ? base::ok() : Status(base::errno_error("write to", written_file, errno));
    });
  }};
}

/// Centuries ahead, so that the timer does not expire, and nobody else's number.
constexpr itimerspec timer_never{.it_interval = {}, .it_value = {.tv_sec = 7'000'000'007, .tv_nsec = 7}};

Result<PreparedCulprit> prepare_timer(const RunOptions& options) {
  const auto timer = std::make_shared<OwnedFd>(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  if (!*timer) {
    return base::errno_error("make", "a timer", errno);
  }
  const Result<std::shared_ptr<irq_off_timer_bpf>> programs = open_programs<irq_off_timer_bpf>(options);
  if (!programs) {
    return programs.error();
  }
  (*programs)->rodata->expires_ns = timer_never.it_value.tv_sec * base::ns_per_s + timer_never.it_value.tv_nsec;
  if (Status loaded = load(**programs); !loaded) {
    return loaded.error();
  }
  return PreparedCulprit{[programs = *programs, timer] {
    return call_with(*programs, [&]() -> Status {
      return ::timerfd_settime(timer->get(), TFD_TIMER_ABSTIME, &timer_never, nullptr) == 0
                 ? base::ok()
                 : Status(base::errno_error("set", "a timer", errno));
    });
  }};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  CulpritPlan plan{.fault = fault, .options = options, .comm = "lab-irqs-off"};
  if (check_kernel_needs(fault.id, switch_needs)) {
    plan.syscall = "write";
    plan.file = written_file;
    return run_culprit(
        plan, [&] { return prepare_write(options); }, stop, output);
  }
  if (Status met = check_kernel_needs(fault.id, timer_needs); !met) {
    return met;
  }
  plan.syscall = "timerfd_settime";
  return run_culprit(
      plan, [&] { return prepare_timer(options); }, stop, output);
}

}  // namespace

constexpr Fault fault = {
    .id = "irq-off-section",
    .summary = "a system call runs with hard IRQs off for a set time, by a BPF program (Linux 5.17)",
    .expected_rule = "irq-off-section",
    .expected_mode = "hard_irqs_off",
    .healthy_help = "the same calls, with interrupts left on",
    .parameters = parameters,
    .settings_for = length_alone,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::irq_off_section
