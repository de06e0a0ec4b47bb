// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/slow-tc/fault.h"

#include <slow_tc.skel.h>

#include <array>
#include <cerrno>
#include <memory>

#include "lab/bpf_programs.h"
#include "lab/culprit.h"
#include "lab/kernel_needs.h"
#include "lab/packet_path.h"

namespace stallscope::lab::slow_tc {
namespace {

using base::Result;
using base::Status;

constexpr std::array<Parameter, 1> parameters = {{
    {.name = "length",
     .help = "How long the program takes over a packet",
     .kind = ParameterKind::duration,
     .default_value = 100 * base::ns_per_ms,
     .minimum = base::ns_per_ms,
     .maximum = longest_length_ns,
     .reason_for_bounds = "For longer the machine itself would suffer."},
}};

constexpr std::array<KernelNeed, 1> needs = {{{KernelNeed::Kind::function, "bpf_loop", "Linux 5.17"}}};

Result<PreparedCulprit> prepare(const RunOptions& options) {
  Result<PacketPath> made = make_packet_path();
  if (!made) {
    return made.error();
  }
  const auto path = std::make_shared<PacketPath>(std::move(*made));
  const std::shared_ptr<slow_tc_bpf> programs(slow_tc_bpf::open(), &slow_tc_bpf::destroy);
  if (!programs) {
    return program_error(fault, "open", errno);
  }
  programs->rodata->length_ns = static_cast<__u64>(options.settings.value(parameters[0]));
  programs->rodata->healthy = options.healthy ? 1 : 0;
  if (const int error = slow_tc_bpf::load(programs.get()); error != 0) {
    return program_error(fault, "load", -error);
  }
  if (Status attached =
          attach_tc_program(fault, bpf_program__fd(programs->progs.lab_slow_tc), path->receiving_interface_index, BPF_TC_INGRESS);
      !attached) {
    return attached.error();
  }
  return PreparedCulprit{[programs, path]() -> Result<Turn> {
    Result<Stall> stall = pass_packet_through(fault, *path, programs->bss->started_ns, programs->bss->ended_ns);
    return stall ? Result<Turn>(Turn{{*std::move(stall)}}) : stall.error();
  }};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  if (Status met = check_kernel_needs(fault.id, needs); !met) {
    return met;
  }
  return run_culprit(
      {.fault = fault, .options = options, .comm = "lab-slow-tc", .syscall = "sendto"}, [&] { return prepare(options); }, stop,
      output);
}

}  // namespace

constexpr Fault fault = {
    .id = "slow-tc",
    .summary = "a tc program on the way in takes a set time over each packet (Linux 5.17)",
    .expected_rule = "slow-tc",
    .expected_mode = "net_rx_work",
    .healthy_help = "the same packets through the same program, which returns at once",
    .parameters = parameters,
    .settings_for = length_alone,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::slow_tc
