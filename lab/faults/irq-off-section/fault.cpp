// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/irq-off-section/fault.h"

#include <fcntl.h>
#include <irq_off_section.skel.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>

#include "base/files.h"
#include "bpf/skeleton.h"
#include "lab/bpf_programs.h"
#include "lab/culprit.h"
#include "lab/kernel_needs.h"

namespace stallscope::lab::irq_off_section {
namespace {

using base::OwnedFd;
using base::Result;
using base::Status;
using IrqOffSkeleton = bpf::Skeleton<irq_off_section_bpf, &irq_off_section_bpf::destroy>;

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

constexpr std::array<KernelNeed, 3> needs = {{
    {KernelNeed::Kind::function, "bpf_local_irq_save", "Linux 6.14"},
    {KernelNeed::Kind::function, "bpf_local_irq_restore", "Linux 6.14"},
    {KernelNeed::Kind::tracepoint, "sys_enter", "Linux 5.5"},
}};

Result<PreparedCulprit> prepare(const RunOptions& options) {
  Result<OwnedFd> file = base::open_file(written_file, O_WRONLY);
  if (!file) {
    return file.error();
  }
  const std::shared_ptr<irq_off_section_bpf> programs(irq_off_section_bpf::open(), &irq_off_section_bpf::destroy);
  if (!programs) {
    return program_error(fault, "open", errno);
  }
  programs->rodata->culprit_tgid = static_cast<__u32>(::getpid());
  programs->rodata->length_ns = static_cast<__u64>(options.settings.value(parameters[0]));
  programs->rodata->syscall_number = SYS_write;
  programs->rodata->healthy = options.healthy ? 1 : 0;
  if (const int error = irq_off_section_bpf::load(programs.get()); error != 0) {
    return program_error(fault, "load", -error);
  }
  const auto written = std::make_shared<OwnedFd>(std::move(*file));
  return PreparedCulprit{[programs, written]() -> Result<Turn> {
    // Attached for this one call: the culprit's other writes, of its reports, are its own affair.
    const int error = irq_off_section_bpf::attach(programs.get());
    const ssize_t done = error == 0 ? ::write(written->get(), "", 1) : 0;
    irq_off_section_bpf::detach(programs.get());
    if (error != 0) {
      return program_error(fault, "attach", -error);
    }
    if (done != 1) {
      return base::errno_error("write to", written_file, errno);
    }
    return Turn{{{.start_ns = static_cast<std::int64_t>(programs->bss->started_ns),
                  .end_ns = static_cast<std::int64_t>(programs->bss->ended_ns)}}};
  }};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  if (Status met = check_kernel_needs(fault.id, needs); !met) {
    return met;
  }
  return run_culprit(
      {.fault = fault, .options = options, .comm = "lab-irqs-off", .syscall = "write", .file = written_file},
      [&] { return prepare(options); }, stop, output);
}

}  // namespace

constexpr Fault fault = {
    .id = "irq-off-section",
    .summary = "a write(2) runs with hard IRQs off for a set time, by a BPF program (Linux 6.14)",
    .expected_rule = "irq-off-section",
    .expected_mode = "hard_irqs_off",
    .healthy_help = "the same writes, with interrupts left on",
    .parameters = parameters,
    .settings_for = length_alone,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::irq_off_section
