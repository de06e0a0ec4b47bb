// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "base/units.h"
#include "bisect/stall_tracker.h"

// Paths whose faults are known, for tests.
namespace stallscope::bisect {

/// The path of 2019: a service behind DNAT, a pod behind an overlay, the node.
inline Path service_path() {
  return with_control(Path{{
      {.name = "service", .target = "http://10.0.1.2:30080", .layers = {"nat", "overlay", "application", "transport", "node"}},
      {.name = "pod by HTTP", .target = "http://10.9.0.2:8080", .layers = {"overlay", "application", "transport", "node"}},
      {.name = "pod by TCP", .target = "tcp://10.9.0.2:8080", .layers = {"overlay", "transport", "node"}},
      {.name = "pod by ICMP", .target = "icmp://10.9.0.2", .layers = {"overlay", "node"}},
      {.name = "node by ICMP", .target = "icmp://10.0.1.2", .layers = {"node"}},
  }});
}

struct SimulatedFault {
  std::string layer;
  double per_second = 0.5;
  std::int64_t shortest_ns = 20 * base::ns_per_ms;
  std::int64_t longest_ns = 120 * base::ns_per_ms;
};

struct Simulation {
  std::vector<SimulatedFault> faults{};
  std::int64_t duration_ns = 60 * base::ns_per_s;
  std::int64_t interval_ns = 10 * base::ns_per_ms;
  double loss = 0;
  /// Of any probe by itself, by 20 ms.
  double spurious = 0;
};

/// Probes of all rungs, interleaved, through queues that stand still now and then.
inline std::vector<Observation> simulate(const Path& path, const Simulation& simulation, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto uniform = [&] { return std::uniform_real_distribution<double>(0, 1)(random); };
  struct Standstill {
    RungSet crossing;
    std::int64_t start_ns;
    std::int64_t end_ns;
  };
  constexpr std::int64_t start_ns = base::ns_per_s;
  std::vector<Standstill> standstills;
  for (const SimulatedFault& fault : simulation.faults) {
    std::exponential_distribution<double> gap(fault.per_second);
    for (double at = gap(random) * base::ns_per_s; at < static_cast<double>(simulation.duration_ns);
         at += gap(random) * base::ns_per_s) {
      const auto length = static_cast<std::int64_t>(static_cast<double>(fault.longest_ns - fault.shortest_ns) * uniform());
      const std::int64_t from_ns = start_ns + static_cast<std::int64_t>(at);
      standstills.push_back({path.crossing(fault.layer), from_ns, from_ns + fault.shortest_ns + length});
    }
  }
  std::vector<Observation> observations;
  const auto rungs = static_cast<std::int64_t>(path.rungs.size());
  for (std::int64_t turn = 0; turn * simulation.interval_ns < simulation.duration_ns; ++turn) {
    for (std::int64_t rung = 0; rung < rungs; ++rung) {
      const std::int64_t intended_ns = start_ns + (turn * simulation.interval_ns) + (rung * simulation.interval_ns / rungs);
      const std::int64_t sent_ns = intended_ns + static_cast<std::int64_t>(uniform() * 50 * base::ns_per_us);
      const auto usual_ns = static_cast<std::int64_t>((0.2 + (0.1 * uniform()) + (rung == 0 ? 2 : 0)) * base::ns_per_ms);
      std::int64_t released_ns = sent_ns;
      for (const Standstill& stall : standstills) {
        if (stall.crossing.test(static_cast<std::size_t>(rung)) && released_ns >= stall.start_ns && released_ns < stall.end_ns) {
          released_ns = stall.end_ns;
        }
      }
      if (uniform() < simulation.spurious) {
        released_ns += 20 * base::ns_per_ms;
      }
      const bool lost = uniform() < simulation.loss;
      observations.push_back(
          {static_cast<std::size_t>(rung), intended_ns, sent_ns, lost ? Observation::lost : released_ns + usual_ns});
    }
  }
  // In the order in which their fates become known.
  std::stable_sort(observations.begin(), observations.end(), [](const Observation& a, const Observation& b) {
    const auto known = [](const Observation& o) { return o.received_ns < 0 ? o.sent_ns + base::ns_per_s : o.received_ns; };
    return known(a) < known(b);
  });
  return observations;
}

}  // namespace stallscope::bisect
