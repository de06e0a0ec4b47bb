// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "host/file_tree.h"

// What this host does that makes probes look worse, or better, than the path is.
namespace stallscope::probe {

/// Settings and counters of the kernel by the name of a check's fact; what is missing could not be read.
using DistortionFacts = std::map<std::string, std::int64_t, std::less<>>;

/// Reads them for the calling thread's network namespace. Blocks for some milliseconds.
[[nodiscard]] DistortionFacts read_distortion_facts(const host::FileTree& files = {});

/// Adds what takes received packets past the queue that their ports choose, and whether they are stamped before they wait: RPS,
/// RFS, rules. It does not change from one moment to the next, so once for a run is enough: each device costs a mount of sysfs,
/// some 20 ms in all. Of the calling thread's network namespace; nothing where it has more than 16 devices.
void add_steering_facts(DistortionFacts& facts);

/// What the run asked of the host, and how it went.
struct ProbeLoad {
  /// Flows that connection tracking had or will have to remember: SYNs, datagrams from different ports, connections.
  std::int64_t tracked_flows = 0;
  bool uses_udp = false;
  bool uses_tcp = false;
  std::int64_t lost = 0;
  std::int64_t icmp_errors = 0;
  std::int64_t own_lateness_p999_ns = 0;
  /// Whether the prober had the priority that it asked for.
  bool preferred = false;
};

struct Distortion {
  /// A short noun phrase.
  std::string what;
  /// What it means for the figures, in one sentence.
  std::string consequence;

  friend bool operator==(const Distortion&, const Distortion&) = default;
};

/// Those that matter for this run. Pure. What is not known is left out: its absence says nothing.
[[nodiscard]] std::vector<Distortion> find_distortions(const DistortionFacts& before, const DistortionFacts& after,
                                                       const ProbeLoad& load);

}  // namespace stallscope::probe
