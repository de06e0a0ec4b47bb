// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/numa-stat-read/fault.h"

#include <unistd.h>

#include <array>
#include <string>

#include "lab/culprit.h"
#include "lab/faults/memcg-stat-flush/reader.h"
#include "lab/zombie_run.h"
#include "lab/zombies.h"

namespace stallscope::lab::numa_stat_read {
namespace {

using base::Status;

constexpr std::array<Parameter, 1> parameters = {{
    {.name = "zombies",
     .help = "Zombie memory cgroups; each adds 1 to 2 us to a stall",
     .kind = ParameterKind::count,
     .default_value = 50'000,
     .minimum = 1,
     .maximum = max_zombies_count,
     .reason_for_bounds = "A memory cgroup ID has 16 bits, and the machine needs some of them."},
}};

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  const auto zombies_count = static_cast<int>(options.settings.value(parameters[0]));
  return with_zombies(zombies_count, stop, output.progress, [&](const ZombiePlaces& places, std::int64_t total_count) {
    const memcg_stat_flush::ReaderPlan plan{.stat_path = places.hierarchy.lab_cgroup() + "/memory.numa_stat",
                                            .pin_path = places.pins.path,
                                            .zombies_count = zombies_count,
                                            .kernel_total_count = total_count,
                                            .period_ns = options.period_ns,
                                            .healthy = options.healthy};
    if (::access(plan.stat_path.c_str(), R_OK) != 0) {
      return Status(base::Error{"run fault", std::string(fault.id), "this kernel lacks " + plan.stat_path,
                                "It has one only with CONFIG_NUMA."});
    }
    return run_culprit(
        {.fault = fault,
         .options = options,
         .comm = "lab-reader",
         .syscall = "read",
         .file = plan.stat_path,
         .cgroup_path = places.hierarchy.reader_cgroup(),
         .control_type = "control-read",
         .count_name = "reads"},
        [&] { return memcg_stat_flush::prepare_reader(plan); }, stop, output);
  });
}

}  // namespace

constexpr Fault fault = {
    .id = "numa-stat-read",
    .summary = "reads of memory.numa_stat flush thousands of zombie memory cgroups with hard IRQs off",
    .expected_rule = "numa-stat-read",
    .expected_mode = "hard_irqs_off",
    .healthy_help = "the same zombies and reads, with nothing to flush",
    .parameters = parameters,
    .settings_for = memcg_stat_flush::zombies_for,
    .run = run,
    .remove_leftovers = remove_leftover_zombies,
};

}  // namespace stallscope::lab::numa_stat_read
