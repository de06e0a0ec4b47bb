// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/bh-off-section/fault.h"

#include <bh_off_section.skel.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <memory>

#include "lab/bpf_programs.h"
#include "lab/culprit.h"
#include "lab/faults/bh-off-section/sender.h"
#include "lab/kernel_needs.h"

namespace stallscope::lab::bh_off_section {
namespace {

using base::Result;
using base::Status;

/// Of the culprit's packets; in a namespace of its own, so that it means nothing to anybody else.
constexpr std::uint32_t packet_mark = 1;

constexpr std::array<Parameter, 1> parameters = {{
    {.name = "length",
     .help = "How long bottom halves are off",
     .kind = ParameterKind::duration,
     .default_value = 100 * base::ns_per_ms,
     .minimum = base::ns_per_ms,
     .maximum = longest_length_ns,
     .reason_for_bounds = "For longer the machine itself would suffer."},
}};

constexpr std::array<KernelNeed, 1> needs = {{{KernelNeed::Kind::function, "bpf_loop", "Linux 5.17"}}};

Result<PreparedCulprit> prepare(const RunOptions& options) {
  Result<Sender> made = make_sender(packet_mark);
  if (!made) {
    return made.error();
  }
  const auto sender = std::make_shared<Sender>(std::move(*made));
  const std::shared_ptr<bh_off_section_bpf> programs(bh_off_section_bpf::open(), &bh_off_section_bpf::destroy);
  if (!programs) {
    return program_error(fault, "open", errno);
  }
  programs->rodata->length_ns = static_cast<__u64>(options.settings.value(parameters[0]));
  programs->rodata->mark = packet_mark;
  programs->rodata->healthy = options.healthy ? 1 : 0;
  if (const int error = bh_off_section_bpf::load(programs.get()); error != 0) {
    return program_error(fault, "load", -error);
  }
  if (Status attached =
          attach_tc_program(fault, bpf_program__fd(programs->progs.on_egress), sender->interface_index, BPF_TC_EGRESS);
      !attached) {
    return attached.error();
  }
  return PreparedCulprit{[programs, sender]() -> Result<Turn> {
    const auto seen_ns = static_cast<std::int64_t>(programs->bss->ended_ns);
    // Of what it is told that the packet was dropped nothing follows: that is what the program does with it.
    static_cast<void>(::send(sender->socket.get(), "", 1, 0));
    const Stall stall{.start_ns = static_cast<std::int64_t>(programs->bss->started_ns),
                      .end_ns = static_cast<std::int64_t>(programs->bss->ended_ns)};
    if (stall.end_ns == seen_ns) {
      return base::Error{"run fault", std::string(fault.id), "the packet did not reach the device", ""};
    }
    return Turn{{stall}};
  }};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  if (Status met = check_kernel_needs(fault.id, needs); !met) {
    return met;
  }
  return run_culprit(
      {.fault = fault, .options = options, .comm = "lab-bh-off", .syscall = "sendto"}, [&] { return prepare(options); }, stop,
      output);
}

}  // namespace

constexpr Fault fault = {
    .id = "bh-off-section",
    .summary = "a sendto(2) runs with bottom halves off for a set time, by a tc program (Linux 5.17)",
    .expected_rule = "bh-off-section",
    .expected_mode = "bh_off",
    .healthy_help = "the same packets, dropped at once",
    .parameters = parameters,
    .settings_for = length_alone,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::bh_off_section
