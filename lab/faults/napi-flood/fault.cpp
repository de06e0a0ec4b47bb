// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/napi-flood/fault.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string>

#include "lab/culprit.h"
#include "lab/flood.h"
#include "lab/undo.h"

namespace stallscope::lab::napi_flood {
namespace {

using base::Result;
using base::Status;

/// What a packet takes to be received and forwarded on a machine of 2023, about.
constexpr std::int64_t packet_ns = 1'800;
constexpr std::int64_t default_packets_count = 20'000;
constexpr std::int64_t most_packets_count = 50'000;

constexpr std::array<Parameter, 2> parameters = {{
    {.name = "packets",
     .help = "Packets that arrive at once; the last waits for all others",
     .default_value = default_packets_count,
     .minimum = 1'000,
     .maximum = most_packets_count,
     .reason_for_bounds = "Each takes 1 KB of memory while it waits."},
    {.name = "hops",
     .help = "How often each is received, as in a routing loop; rounded up to an odd number",
     .default_value = 5,
     .minimum = 1,
     .maximum = 63,
     .reason_for_bounds = "With more the machine itself would suffer."},
}};

Settings settings_for(std::int64_t length_ns) {
  // Several hops, so that receiving takes longer than sending.
  constexpr std::int64_t least_hops_count = 3;
  const std::int64_t packets_count =
      std::clamp(length_ns / (least_hops_count * packet_ns), parameters[0].minimum, default_packets_count);
  return {{"packets", packets_count},
          {"hops", std::clamp(length_ns / (packets_count * packet_ns), parameters[1].minimum, parameters[1].maximum)}};
}

Result<PreparedCulprit> prepare(const RunOptions& options) {
  // Few enough for NET_RX to be done with them before anybody notices.
  constexpr std::int64_t healthy_packets_count = 100;
  Result<Flood> made = Flood::make(options.cpu);
  if (!made) {
    return made.error();
  }
  const auto flood = std::make_shared<Flood>(std::move(*made));
  const std::int64_t packets_count = options.healthy ? healthy_packets_count : options.settings.value(parameters[0]);
  const std::int64_t hops_count = options.settings.value(parameters[1]) | 1;
  return PreparedCulprit{[=]() -> Result<Turn> {
    Result<Stall> stall = flood->send(packets_count, hops_count);
    if (!stall) {
      return stall.error();
    }
    // It sends from another CPU: whoever is found on this one has nothing to do with it.
    stall->extras.update({{"pid", nullptr}, {"syscall", nullptr}});
    return Turn{{*std::move(stall)}};
  }};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  // Room for all of them, and as much for others.
  Result<Undo> larger_backlog = Undo::of_writing("/proc/sys/net/core/netdev_max_backlog", std::to_string(2 * most_packets_count));
  if (!larger_backlog) {
    return larger_backlog.error();
  }
  Status ran = run_culprit(
      {.fault = fault, .options = options, .comm = "lab-flood", .syscall = "sendto"}, [&] { return prepare(options); }, stop,
      output);
  Status undone = larger_backlog->now();
  return ran ? undone : ran;
}

}  // namespace

constexpr Fault fault = {
    .id = "napi-flood",
    .summary = "packets arrive faster than they can be received, beyond the NAPI budget",
    .expected_rule = "napi-budget",
    .expected_mode = "napi_budget",
    .healthy_help = "a hundred packets a time",
    .parameters = parameters,
    .settings_for = settings_for,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::napi_flood
