// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "evidence/records.h"

// Evidence as a recorder would have written it, for tests of the diagnosis and of its reports.
namespace stallscope::diagnose::testing {

inline constexpr std::int64_t ms = 1'000'000;
inline constexpr std::int64_t us = 1'000;
inline constexpr std::int64_t second = 1'000'000'000;
/// When the scenarios' recordings begin.
inline constexpr std::int64_t run_start_ns = 5'000 * second;

/// A recording of 20 s in which a local target is probed every 10 ms and nothing is wrong: 2 CPUs, counters, no gaps.
[[nodiscard]] evidence::Evidence quiet_run(std::int64_t probe_count = 2'000);

/// Holds every probe whose request reaches `cpu` between the two times until the second, as a queue would, and records its
/// packets. Times are relative to run_start_ns.
void hold_probes(evidence::Evidence& evidence, std::int32_t cpu, std::int64_t start_ns, std::int64_t end_ns,
                 bool with_packets = true);

/// Adds a wait (times relative to run_start_ns) and returns it, with no occupants.
evidence::WaitRecord& add_wait(evidence::Evidence& evidence, std::int32_t cpu, evidence::WaitMode mode, std::int64_t start_ns,
                               std::int64_t end_ns);
/// The reader of memory.stat, holding the whole wait.
void hold_by_reader(evidence::WaitRecord& wait);
/// Stacks 1 (inside css_rstat_flush, from a read), 2 (a timer of IPVS) and 3 (a driver's command) of the scenarios.
void add_stacks(evidence::Evidence& evidence);
/// 50,006 of 50,011 memory cgroups are dying, pinned by one file; reading memory.stat costs this much.
void add_zombies(evidence::Evidence& evidence, std::int64_t read_ns);

/// Three reads of memory.stat, each a stall of about 100 ms on CPU 0.
[[nodiscard]] evidence::Evidence incident();
/// The same zombies, the same reads, nothing pending: no stall.
[[nodiscard]] evidence::Evidence healthy_zombies();
/// A stall that probes show and no wait explains.
[[nodiscard]] evidence::Evidence stall_without_wait();
/// The prober was held up: once for no recorded reason, once by a wait on its CPU.
[[nodiscard]] evidence::Evidence own_lateness();
/// Probes lost, none late.
[[nodiscard]] evidence::Evidence loss_only();
/// One stall with two causes one after the other, and one of a stolen virtual CPU.
[[nodiscard]] evidence::Evidence two_causes();
/// No probe: a node's own traffic, held by a softirq vector and by somebody in a container.
[[nodiscard]] evidence::Evidence passive();
/// Another host is probed; it stalled.
[[nodiscard]] evidence::Evidence remote();
/// The incident with events lost, hooks missing and the recorder killed.
[[nodiscard]] evidence::Evidence lost_events();
/// Every probe is on time; a server in a container was throttled.
[[nodiscard]] evidence::Evidence throttled_server();
/// Names chosen to break a report.
[[nodiscard]] evidence::Evidence hostile_names();

}  // namespace stallscope::diagnose::testing
