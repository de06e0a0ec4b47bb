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

/// Both the hook and the program go with the device, and that with the process's namespace.
Status attach(bh_off_section_bpf& programs, int interface_index) {
  bpf_tc_hook hook{};
  hook.sz = sizeof hook;
  hook.ifindex = interface_index;
  hook.attach_point = BPF_TC_EGRESS;
  if (const int error = bpf_tc_hook_create(&hook); error != 0) {
    return program_error(fault, "make a hook (CONFIG_NET_SCH_INGRESS) for", -error);
  }
  bpf_tc_opts options{};
  options.sz = sizeof options;
  options.prog_fd = bpf_program__fd(programs.progs.on_egress);
  if (const int error = bpf_tc_attach(&hook, &options); error != 0) {
    return program_error(fault, "attach (CONFIG_NET_CLS_BPF)", -error);
  }
  return base::ok();
}

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
  if (Status attached = attach(*programs, sender->interface_index); !attached) {
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
