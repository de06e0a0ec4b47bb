// SPDX-License-Identifier: Apache-2.0
// What the analysis of many flows costs: per packet of a run, quiet, with stalls, and of the worst kind; and a Toeplitz hash.
#include <benchmark/benchmark.h>

#include <vector>

#include "rss/queue_map.h"
#include "shape/shape.h"
#include "shape/testing/simulate.h"

namespace stallscope {
namespace {

using shape::testing::Dice;
using shape::testing::ms;
using shape::testing::run_start_ns;
using shape::testing::second;
using shape::testing::Traffic;

/// A million packets of 64 flows.
Traffic million() {
  Traffic run;
  run.flow_count = 64;
  run.queue_count = 8;
  run.packets_per_s = 10'000;
  run.duration_ns = 100 * second;
  return run;
}

void count_packets(benchmark::State& state, const std::vector<shape::TimedPacket>& packets) {
  for (auto iteration : state) {
    benchmark::DoNotOptimize(shape::analyse(packets));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(packets.size()));
}

void quiet(benchmark::State& state) {
  Dice dice(1);
  count_packets(state, shape::testing::quiet_run(million(), dice));
}
BENCHMARK(quiet)->Unit(benchmark::kMillisecond);

void a_stall_each_second(benchmark::State& state) {
  Dice dice(1);
  const Traffic run = million();
  std::vector<shape::TimedPacket> packets = shape::testing::quiet_run(run, dice);
  for (std::int64_t at = 0; at < 99; ++at) {
    shape::testing::hold(packets, run, {at % run.queue_count, run_start_ns + at * second, 100 * ms}, 1, dice);
  }
  count_packets(state, packets);
}
BENCHMARK(a_stall_each_second)->Unit(benchmark::kMillisecond);

/// Delays of seconds that overlap: many candidates, each over many packets.
void long_independent_delays(benchmark::State& state) {
  Dice dice(1);
  std::vector<shape::TimedPacket> packets = shape::testing::quiet_run(million(), dice);
  shape::testing::delay(packets, [&](const shape::TimedPacket&) { return dice.chance(0.3) ? dice.below(3 * second) : 0; });
  count_packets(state, packets);
}
BENCHMARK(long_independent_delays)->Unit(benchmark::kMillisecond);

void queue_of_tcp_flow(benchmark::State& state) {
  rss::ReceiveQueues device;
  device.key.assign(40, 0x6d);
  device.table.assign(128, 0);
  device.fields.fill(rss::fields_addresses | rss::fields_ports);
  const base::Result<rss::QueueMap> map = rss::QueueMap::make(device);
  rss::Flow flow;
  flow.kind = state.range(0) == 6 ? rss::PacketKind::tcp6 : rss::PacketKind::tcp4;
  for (auto iteration : state) {
    ++flow.source_port;
    benchmark::DoNotOptimize(map->queue_of(flow));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(queue_of_tcp_flow)->ArgName("IP version")->Arg(4)->Arg(6);

}  // namespace
}  // namespace stallscope
