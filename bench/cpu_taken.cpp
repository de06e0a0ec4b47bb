// SPDX-License-Identifier: Apache-2.0
// Reads the clock without pause on one CPU and adds up the gaps between two readings: what interrupts take from a program that runs
// there. Gaps longer than an interrupt lasts (another task, the hypervisor) are told apart.
//
// usage: cpu_taken CPU SECONDS
//
// Prints {"interrupts":N,"interrupts_ns":N,"other_ns":N,"elapsed_ns":N}.
#include <fmt/format.h>
#include <sched.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "arguments.h"
#include "base/clock.h"
#include "base/units.h"

namespace {

namespace base = stallscope::base;
namespace bench = stallscope::bench;

/// One reading takes some tens of nanoseconds; an interrupt more than this, a softirq after it less than the other.
constexpr std::int64_t shortest_interrupt_ns = 400;
constexpr std::int64_t longest_interrupt_ns = 60 * base::ns_per_us;

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: cpu_taken CPU SECONDS\n");
    return EXIT_FAILURE;
  }
  cpu_set_t cpus{};
  CPU_SET(static_cast<std::size_t>(bench::small_number(argv[1])), &cpus);
  if (sched_setaffinity(0, sizeof cpus, &cpus) != 0) {
    fmt::print(stderr, "cpu_taken: use CPU {}: {}\n", argv[1], std::strerror(errno));
    return EXIT_FAILURE;
  }
  const auto duration_ns = bench::whole_number(argv[2]) * base::ns_per_s;
  std::int64_t interrupts = 0;
  std::int64_t interrupts_ns = 0;
  std::int64_t other_ns = 0;
  const std::int64_t start_ns = base::monotonic_ns();
  std::int64_t last_ns = start_ns;
  while (last_ns - start_ns < duration_ns) {
    const std::int64_t now_ns = base::monotonic_ns();
    const std::int64_t gap_ns = now_ns - last_ns;
    last_ns = now_ns;
    if (gap_ns > longest_interrupt_ns) {
      other_ns += gap_ns;
    } else if (gap_ns > shortest_interrupt_ns) {
      ++interrupts;
      interrupts_ns += gap_ns;
    }
  }
  fmt::print("{{\"interrupts\":{},\"interrupts_ns\":{},\"other_ns\":{},\"elapsed_ns\":{}}}\n", interrupts, interrupts_ns, other_ns,
             last_ns - start_ns);
  return EXIT_SUCCESS;
}
