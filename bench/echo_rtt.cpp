// SPDX-License-Identifier: Apache-2.0
// Round-trip times as stallscope's prober measures them, without a tracer.
//
// usage: echo_rtt NETNS ADDRESS INTERVAL_US SECONDS CPU
//
// Prints {"rtt_ns":[...],"lost":N}.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdint>
#include <cstdlib>
#include <stop_token>
#include <vector>

#include "arguments.h"
#include "base/units.h"
#include "probe/prober.h"

namespace {

namespace base = stallscope::base;
namespace bench = stallscope::bench;
namespace probe = stallscope::probe;

int fail(const base::Error& error) {
  fmt::print(stderr, "echo_rtt: {}\n", error.message());
  return EXIT_FAILURE;
}

int run(const probe::ProberOptions& options) {
  base::Result<probe::Prober> prober = probe::Prober::open(options);
  if (!prober) {
    return fail(prober.error());
  }
  std::vector<std::int64_t> times_ns;
  std::int64_t lost = 0;
  const base::Result<probe::ProberSummary> summary = prober->run(std::stop_token{}, [&](const probe::ProbeBatch& batch) {
    for (const stallscope::evidence::ProbeRecord& record : batch.probes) {
      if (record.answered()) {
        times_ns.push_back(record.rtt_ns());
      } else {
        ++lost;
      }
    }
  });
  if (!summary) {
    return fail(summary.error());
  }
  fmt::print("{{\"rtt_ns\":[{}],\"lost\":{}}}\n", fmt::join(times_ns, ","), lost);
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  probe::ProberOptions options;
  in_addr target{};
  constexpr int wanted = 6;
  if (argc != wanted || inet_pton(AF_INET, argv[2], &target) != 1) {
    fmt::print(stderr, "usage: echo_rtt NETNS ADDRESS INTERVAL_US SECONDS CPU\n");
    return EXIT_FAILURE;
  }
  options.targets.resize(1);
  options.targets.front().name = argv[2];
  options.targets.front().to = probe::endpoint_of(target);
  options.netns = argv[1];
  options.interval_ns = bench::whole_number(argv[3]) * base::ns_per_us;
  options.duration_ns = bench::whole_number(argv[4]) * base::ns_per_s;
  options.cpu = bench::small_number(argv[5]);
  return run(options);
}
