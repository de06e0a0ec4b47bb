// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/napi-flood/fault.h"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <string>

#include "base/units.h"
#include "lab/culprit.h"
#include "lab/flood.h"
#include "lab/undo.h"

namespace stallscope::lab::napi_flood {
namespace {

using base::Result;
using base::Status;

constexpr std::int64_t least_packets_count = 1'000;
/// Each takes 1 KB of memory while it waits.
constexpr std::int64_t most_packets_count = 20'000;
/// With fewer, a packet is received as fast as it is sent; with more the machine itself would suffer.
constexpr std::int64_t least_hops_count = 3;
constexpr std::int64_t most_hops_count = 63;

constexpr std::array<Parameter, 1> parameters = {{
    {.name = "length",
     .help =
         "How long the flood lasts, about; how many packets that takes here is measured. Others wait for a round of it, a third "
         "at most",
     .kind = ParameterKind::duration,
     .default_value = 100 * base::ns_per_ms,
     .minimum = 5 * base::ns_per_ms,
     .maximum = base::ns_per_s,
     .reason_for_bounds = "For longer more packets would have to wait than a queue should hold."},
}};

/// A packet that comes in between waits for one round of the flood's, of which there are at least `least_hops_count`: a shorter
/// flood would keep none waiting for as long as a stall takes.
Settings settings_for(std::int64_t length_ns) {
  constexpr std::int64_t least_round_ns = 10 * base::ns_per_ms;
  return {{"length", std::max(length_ns, least_hops_count * least_round_ns)}};
}

struct FloodSize {
  std::int64_t packets_count = 0;
  std::int64_t hops_count = 0;
};

FloodSize size_for(std::int64_t length_ns, double hop_ns) {
  const auto receptions_count = static_cast<std::int64_t>(static_cast<double>(length_ns) / hop_ns);
  const std::int64_t packets_count = std::clamp(receptions_count / least_hops_count, least_packets_count, most_packets_count);
  // Odd, or they would end at the sender.
  return {packets_count, std::clamp(receptions_count / packets_count, least_hops_count, most_hops_count) | 1};
}

/// What takes about `length_ns` on this machine. A flood too short for anybody to notice says roughly how long a hop takes; one of
/// the size that follows says it better, since what is ready for a few packets is not yet at full speed.
Result<FloodSize> calibrate(Flood& flood, std::int64_t length_ns) {
  constexpr int rounds_count = 3;
  constexpr int trials_count = 3;
  FloodSize size{least_packets_count, least_hops_count};
  for (int round = 0; round < rounds_count; ++round) {
    std::int64_t fastest_ns = std::numeric_limits<std::int64_t>::max();
    for (int trial = 0; trial < trials_count; ++trial) {
      const Result<Stall> stall = flood.send(size.packets_count, size.hops_count);
      if (!stall) {
        return stall.error();
      }
      fastest_ns = std::min(fastest_ns, stall->end_ns - stall->start_ns);
    }
    size = size_for(length_ns,
                    std::max(1.0, static_cast<double>(fastest_ns) / static_cast<double>(size.packets_count * size.hops_count)));
  }
  return size;
}

Result<PreparedCulprit> prepare(const RunOptions& options) {
  // Few enough for NET_RX to be done with them before anybody notices.
  constexpr FloodSize healthy{.packets_count = 100, .hops_count = least_hops_count};
  Result<Flood> made = Flood::make(options.cpu);
  if (!made) {
    return made.error();
  }
  const auto flood = std::make_shared<Flood>(std::move(*made));
  Result<FloodSize> size = options.healthy ? healthy : calibrate(*flood, options.settings.value(parameters[0]));
  if (!size) {
    return size.error();
  }
  return PreparedCulprit{[flood, size = *size]() -> Result<Turn> {
    Result<Stall> stall = flood->send(size.packets_count, size.hops_count);
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
