// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "base/units.h"
#include "shape/packets.h"

// Simulated runs of a prober with many flows, for tests and benchmarks.
namespace stallscope::shape::testing {

inline constexpr std::int64_t ms = base::ns_per_ms;
inline constexpr std::int64_t us = base::ns_per_us;
inline constexpr std::int64_t second = base::ns_per_s;
inline constexpr std::int64_t run_start_ns = 1'000 * second;

/// Random numbers that are the same everywhere: the distributions of the standard library are not.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  [[nodiscard]] std::int64_t below(std::int64_t limit) {
    return static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(limit));
  }
  /// In [0, 1).
  [[nodiscard]] double uniform() { return static_cast<double>(engine_() >> 11U) * 0x1.0p-53; }
  [[nodiscard]] bool chance(double probability) { return uniform() < probability; }
  [[nodiscard]] std::int64_t exponential(double mean);
  /// Heavy-tailed: a Pareto distribution of index 1.5, cut at 1,000 times its smallest value.
  [[nodiscard]] std::int64_t heavy(std::int64_t smallest);

 private:
  std::mt19937_64 engine_;
};

struct Traffic {
  std::int64_t flow_count = 16;
  std::int64_t queue_count = 4;
  /// Of all flows together, which take turns.
  std::int64_t packets_per_s = 1'000;
  std::int64_t duration_ns = 10 * second;
  std::int64_t rtt_ns = 200 * us;
  std::int64_t jitter_ns = 50 * us;
};

struct Stall {
  /// -1: every queue.
  std::int64_t queue = 0;
  std::int64_t start_ns = 0;
  std::int64_t length_ns = 0;
};

/// Which queue a flow uses: as random as a hash.
[[nodiscard]] std::int64_t queue_of(std::uint32_t flow, std::int64_t queue_count, std::uint64_t seed);

/// A quiet run.
[[nodiscard]] std::vector<TimedPacket> quiet_run(const Traffic& run, Dice& dice);
/// Holds what arrives at the queue during the stall and lets it go at its end, one packet each 2 microseconds.
void hold(std::vector<TimedPacket>& packets, const Traffic& run, const Stall& stall, std::uint64_t hash_seed, Dice& dice);
/// The sender does not run during [start_ns, start_ns + length_ns): what is due leaves at its end.
void delay_sender(std::vector<TimedPacket>& packets, std::int64_t start_ns, std::int64_t length_ns);
/// Adds to the RTT of each answered packet what `extra_ns` says for it.
void delay(std::vector<TimedPacket>& packets, const std::function<std::int64_t(const TimedPacket&)>& extra_ns);
void lose(std::vector<TimedPacket>& packets, const std::function<bool(const TimedPacket&)>& lost);

}  // namespace stallscope::shape::testing
