// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/ksoftirqd-starved/fault.h"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <ksoftirqd_starved.skel.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "host/kernel.h"
#include "lab/bpf_programs.h"
#include "lab/culprit.h"
#include "lab/kernel_needs.h"
#include "lab/threads.h"

namespace stallscope::lab::ksoftirqd_starved {
namespace {

using base::Error;
using base::Result;
using base::Status;

/// From this release on softirqs are served at the end of an interrupt, whether ksoftirqd was woken or not (commit d15121be7485).
constexpr host::KernelVersion served_anyway{.major = 6, .minor = 5, .patch = 0};

constexpr std::array<Parameter, 1> parameters = {{
    {.name = "length",
     .help = "How long ksoftirqd has to wait",
     .kind = ParameterKind::duration,
     .default_value = 100 * base::ns_per_ms,
     .minimum = base::ns_per_ms,
     .maximum = longest_length_ns,
     .reason_for_bounds = "For longer the machine itself would suffer."},
}};

constexpr std::array<KernelNeed, 3> needs = {{
    {KernelNeed::Kind::function, "bpf_timer_start", "Linux 5.15"},
    {KernelNeed::Kind::function, "bpf_loop", "Linux 5.17"},
    {KernelNeed::Kind::tracepoint, "sched_waking", "Linux 5.5"},
}};

/// It does not show in BTF, so that the version has to tell.
Status check_softirqs_wait() {
  const host::Kernel kernel = host::read_kernel();
  if (!kernel.version || *kernel.version >= served_anyway) {
    return Error{"run fault", std::string(fault.id),
                 fmt::format("this kernel lacks the rule that softirqs wait for a woken ksoftirqd ({})", kernel.release),
                 "Linux 4.9 to 6.4 have it."};
  }
  return base::ok();
}

Result<Turn> starve(ksoftirqd_starved_bpf& programs, bool healthy) {
  const std::int64_t asked_ns = base::monotonic_ns();
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  const int error = bpf_prog_test_run_opts(bpf_program__fd(programs.progs.starve), &options);
  if (error != 0 || options.retval != 0) {
    return program_error(fault, "run", error != 0 ? -error : EINVAL);
  }
  const auto woken_ns = static_cast<std::int64_t>(programs.bss->woken_ns);
  const auto ended_ns = static_cast<std::int64_t>(programs.bss->ended_ns);
  if (healthy) {
    return Turn{{{.start_ns = asked_ns, .end_ns = ended_ns}}};
  }
  // Where another interrupt ended first, the softirq was served by it, and nothing was left to ksoftirqd.
  return woken_ns == 0 ? Turn{} : Turn{{{.start_ns = woken_ns, .end_ns = ended_ns}}};
}

Result<PreparedCulprit> prepare(const RunOptions& options) {
  constexpr __u64 patience_ns = 50 * base::ns_per_ms;
  const std::string thread_name = fmt::format("ksoftirqd/{}", options.cpu);
  const std::vector<pid_t> threads = threads_named(thread_name);
  if (threads.size() != 1) {
    return Error{"run fault", std::string(fault.id), fmt::format("{} was not found", thread_name), ""};
  }
  const std::shared_ptr<ksoftirqd_starved_bpf> programs(ksoftirqd_starved_bpf::open(), &ksoftirqd_starved_bpf::destroy);
  if (!programs) {
    return program_error(fault, "open", errno);
  }
  programs->rodata->length_ns = static_cast<__u64>(options.settings.value(parameters[0]));
  programs->rodata->patience_ns = patience_ns;
  programs->rodata->ksoftirqd_pid = threads.front();
  programs->rodata->healthy = options.healthy ? 1 : 0;
  if (const int error = ksoftirqd_starved_bpf::load(programs.get()); error != 0) {
    return program_error(fault, "load", -error);
  }
  if (const int error = ksoftirqd_starved_bpf::attach(programs.get()); error != 0) {
    return program_error(fault, "attach", -error);
  }
  return PreparedCulprit{[programs, healthy = options.healthy] { return starve(*programs, healthy); }};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  if (Status waits = check_softirqs_wait(); !waits) {
    return waits;
  }
  if (Status met = check_kernel_needs(fault.id, needs); !met) {
    return met;
  }
  return run_culprit(
      {.fault = fault, .options = options, .comm = "lab-starver", .syscall = "bpf"}, [&] { return prepare(options); }, stop,
      output);
}

}  // namespace

constexpr Fault fault = {
    .id = "ksoftirqd-starved",
    .summary = "softirqs are left to ksoftirqd, which waits for a long system call (Linux 5.17 to 6.4)",
    .expected_rule = "thread-delay",
    .expected_mode = "ksoftirqd_delayed",
    .healthy_help = "the same system calls, with nothing left to ksoftirqd",
    .parameters = parameters,
    .settings_for = length_alone,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::ksoftirqd_starved
