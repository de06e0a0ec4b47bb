// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/slow-xdp/fault.h"

#include <bpf/bpf.h>
#include <linux/if_link.h>
#include <slow_xdp.skel.h>

#include <array>
#include <cerrno>
#include <memory>

#include "lab/bpf_programs.h"
#include "lab/culprit.h"
#include "lab/kernel_needs.h"
#include "lab/packet_path.h"

namespace stallscope::lab::slow_xdp {
namespace {

using base::OwnedFd;
using base::Result;
using base::Status;

constexpr std::array<Parameter, 2> parameters = {{
    {.name = "length",
     .help = "How long the program takes over a packet",
     .kind = ParameterKind::duration,
     .default_value = 100 * base::ns_per_ms,
     .minimum = base::ns_per_ms,
     .maximum = longest_length_ns,
     .reason_for_bounds = "For longer the machine itself would suffer."},
    {.name = "native",
     .help = "1: run it in the device's driver, 0: in the network stack (generic XDP)",
     .default_value = 0,
     .minimum = 0,
     .maximum = 1},
}};

constexpr std::array<KernelNeed, 1> needs = {{{KernelNeed::Kind::function, "bpf_loop", "Linux 5.17"}}};

struct Attached {
  PacketPath path;
  std::shared_ptr<slow_xdp_bpf> programs;
  /// The program leaves the device when this is closed.
  OwnedFd link;
};

Result<PreparedCulprit> prepare(const RunOptions& options) {
  Result<PacketPath> path = make_packet_path();
  if (!path) {
    return path.error();
  }
  const std::shared_ptr<slow_xdp_bpf> programs(slow_xdp_bpf::open(), &slow_xdp_bpf::destroy);
  if (!programs) {
    return program_error(fault, "open", errno);
  }
  programs->rodata->length_ns = static_cast<__u64>(options.settings.value(parameters[0]));
  programs->rodata->healthy = options.healthy ? 1 : 0;
  if (const int error = slow_xdp_bpf::load(programs.get()); error != 0) {
    return program_error(fault, "load", -error);
  }
  bpf_link_create_opts link_options{};
  link_options.sz = sizeof link_options;
  link_options.flags = options.settings.value(parameters[1]) != 0 ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
  OwnedFd link(
      bpf_link_create(bpf_program__fd(programs->progs.lab_slow_xdp), path->receiving_interface_index, BPF_XDP, &link_options));
  if (!link) {
    return program_error(fault, "attach", errno);
  }
  const auto attached = std::make_shared<Attached>(Attached{std::move(*path), programs, std::move(link)});
  return PreparedCulprit{[attached]() -> Result<Turn> {
    Result<Stall> stall =
        pass_packet_through(fault, attached->path, attached->programs->bss->started_ns, attached->programs->bss->ended_ns);
    return stall ? Result<Turn>(Turn{{*std::move(stall)}}) : stall.error();
  }};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  if (Status met = check_kernel_needs(fault.id, needs); !met) {
    return met;
  }
  return run_culprit(
      {.fault = fault, .options = options, .comm = "lab-slow-xdp", .syscall = "sendto"}, [&] { return prepare(options); }, stop,
      output);
}

}  // namespace

constexpr Fault fault = {
    .id = "slow-xdp",
    .summary = "an XDP program takes a set time over each packet (Linux 5.17)",
    .expected_rule = "slow-xdp",
    .expected_mode = "net_rx_work",
    .healthy_help = "the same packets through the same program, which returns at once",
    .parameters = parameters,
    .settings_for = length_alone,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::slow_xdp
