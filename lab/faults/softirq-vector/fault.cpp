// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/softirq-vector/fault.h"

#include <bpf/bpf.h>
#include <softirq_vector.skel.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>

#include "lab/bpf_programs.h"
#include "lab/culprit.h"
#include "lab/kernel_needs.h"
#include "lab/wait_for.h"

namespace stallscope::lab::softirq_vector {
namespace {

using base::Error;
using base::Result;
using base::Status;

constexpr std::array<Parameter, 1> parameters = {{
    {.name = "length",
     .help = "How long the timer's callback runs",
     .kind = ParameterKind::duration,
     .default_value = 100 * base::ns_per_ms,
     .minimum = base::ns_per_ms,
     .maximum = longest_length_ns,
     .reason_for_bounds = "For longer the machine itself would suffer."},
}};

constexpr std::array<KernelNeed, 2> needs = {{
    {KernelNeed::Kind::function, "bpf_timer_start", "Linux 5.15"},
    {KernelNeed::Kind::function, "bpf_loop", "Linux 5.17"},
}};

/// Starts the timer, which expires in the softirq of whatever then has the CPU, and waits until its callback is done.
Result<Turn> start_and_wait(softirq_vector_bpf& programs) {
  constexpr std::int64_t bound_ns = 5 * base::ns_per_s;
  const volatile __u64& runs = programs.bss->runs;
  const __u64 runs_before = runs;
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  const int error = bpf_prog_test_run_opts(bpf_program__fd(programs.progs.start_timer), &options);
  if (error != 0 || options.retval != 0) {
    return program_error(fault, "run", error != 0 ? -error : EINVAL);
  }
  if (!wait_for(bound_ns, [&] { return runs != runs_before; })) {
    return Error{"run fault", std::string(fault.id), "the timer did not expire", ""};
  }
  return Turn{{{.start_ns = static_cast<std::int64_t>(programs.bss->started_ns),
                .end_ns = static_cast<std::int64_t>(programs.bss->ended_ns),
                // The task that was interrupted, and is innocent: softirqs run on its back.
                .extras = {{"cpu", programs.bss->cpu},
                           {"pid", programs.bss->interrupted_pid},
                           {"comm", &programs.bss->interrupted_comm[0]},
                           {"vector", "HRTIMER"}}}}};
}

Result<PreparedCulprit> prepare(const RunOptions& options) {
  // So that the culprit sleeps, and is not what has the CPU, when the timer expires.
  constexpr __u64 delay_ns = 2 * base::ns_per_ms;
  const std::shared_ptr<softirq_vector_bpf> programs(softirq_vector_bpf::open(), &softirq_vector_bpf::destroy);
  if (!programs) {
    return program_error(fault, "open", errno);
  }
  programs->rodata->length_ns = static_cast<__u64>(options.settings.value(parameters[0]));
  programs->rodata->delay_ns = delay_ns;
  programs->rodata->healthy = options.healthy ? 1 : 0;
  if (const int error = softirq_vector_bpf::load(programs.get()); error != 0) {
    return program_error(fault, "load", -error);
  }
  return PreparedCulprit{[programs] { return start_and_wait(*programs); }};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  if (Status met = check_kernel_needs(fault.id, needs); !met) {
    return met;
  }
  return run_culprit(
      {.fault = fault, .options = options, .comm = "lab-timer"}, [&] { return prepare(options); }, stop, output);
}

}  // namespace

constexpr Fault fault = {
    .id = "softirq-vector",
    .summary = "the softirq vector of timers runs for a set time, by a BPF timer (Linux 5.17)",
    .expected_rule = "softirq-vector",
    .expected_mode = "softirq_vector",
    .healthy_help = "the same timer, whose callback returns at once",
    .parameters = parameters,
    .settings_for = length_alone,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::softirq_vector
