// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/backlog-drops/fault.h"

#include <array>
#include <memory>
#include <string>

#include "lab/culprit.h"
#include "lab/flood.h"
#include "lab/undo.h"

namespace stallscope::lab::backlog_drops {
namespace {

using base::Result;
using base::Status;

constexpr const char* limit_path = "/proc/sys/net/core/netdev_max_backlog";
/// The kernel's default of 1,000 can be emptied as fast as one CPU fills it.
constexpr std::int64_t backlog_packets_count = 100;
constexpr std::int64_t default_packets_count = 5'000;

constexpr std::array<Parameter, 1> parameters = {{
    {.name = "packets",
     .help = "Packets that arrive at once; those beyond net.core.netdev_max_backlog, which is 100 meanwhile, are dropped",
     .default_value = default_packets_count,
     .minimum = 1'000,
     .maximum = 100'000,
     .reason_for_bounds = "More would keep the CPU busy for long, which is another fault: napi-flood."},
}};

/// What is lost does not take time.
Settings settings_for(std::int64_t /*length_ns*/) {
  return {};
}

Result<PreparedCulprit> prepare(const RunOptions& options) {
  constexpr std::int64_t healthy_packets_count = 10;
  Result<Flood> made = Flood::make(options.cpu);
  if (!made) {
    return made.error();
  }
  const auto flood = std::make_shared<Flood>(std::move(*made));
  const std::int64_t packets_count = options.healthy ? healthy_packets_count : options.settings.value(parameters[0]);
  return PreparedCulprit{[flood, packets_count, cpu = options.cpu, healthy = options.healthy]() -> Result<Turn> {
    const Result<std::int64_t> before = softnet_count("softnet.dropped", cpu);
    Result<Stall> burst = flood->send(packets_count, 1);
    const Result<std::int64_t> after = softnet_count("softnet.dropped", cpu);
    if (!before || !burst || !after) {
      return !before ? before.error() : !burst ? burst.error() : after.error();
    }
    // With others at work on the sending CPU a burst may come too slowly.
    if (!healthy && *after == *before) {
      return Turn{};
    }
    burst->extras["dropped"] = *after - *before;
    return Turn{{*std::move(burst)}};
  }};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  Result<Undo> smaller_backlog = Undo::of_writing(limit_path, std::to_string(backlog_packets_count));
  if (!smaller_backlog) {
    return smaller_backlog.error();
  }
  Status ran = run_culprit(
      {.fault = fault, .options = options, .comm = "lab-burst", .syscall = "sendto"}, [&] { return prepare(options); }, stop,
      output);
  Status undone = smaller_backlog->now();
  return ran ? undone : ran;
}

}  // namespace

constexpr Fault fault = {
    .id = "backlog-drops",
    .summary = "bursts of packets overflow a CPU's backlog: loss, not lateness",
    .expected_rule = "backlog-drops",
    .expected_mode = blames_nothing,
    .healthy_help = "ten packets a time",
    .parameters = parameters,
    .settings_for = settings_for,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::backlog_drops
