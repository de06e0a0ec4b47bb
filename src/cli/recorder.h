// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/units.h"
#include "trace/tracer.h"

namespace stallscope::cli {

/// What `diagnose` says on standard error, followed by the number and more, once it waits for the probes of another host.
inline constexpr std::string_view recording_announcement = "Recording; at the other end: stallscope diagnose TARGET --echo-id ";

struct RecordOptions {
  /// Host name or address to probe; empty to watch this node's own traffic without a probe.
  std::string target;
  std::int64_t duration_ns = 20 * base::ns_per_s;
  std::int64_t probe_interval_ns = 10 * base::ns_per_ms;
  std::string probe_netns;
  /// Number of the probes: of those sent, or, without a target, of those that another host sends here. Of echoes it is the ICMP
  /// identifier, of SYNs what their mark is made of.
  std::optional<std::uint16_t> echo_id;
  /// Probe by SYNs to this port instead of ICMP echoes, or, without a target, recognise SYNs instead of echoes.
  std::optional<std::uint16_t> tcp_port;
  std::optional<std::int32_t> probe_cpu;
  /// Where the bundle goes; empty for a name made of the target and the time, in the current directory.
  std::string bundle_path;
  std::int64_t wait_threshold_ns = base::ns_per_ms;
  std::uint32_t ring_buffer_bytes = 8U << 20U;
  trace::BackendChoice tracer = trace::BackendChoice::automatic;
  bool read_cost = true;
  bool slabinfo_anyway = false;
};

/// What a person watching sees while it records.
struct RecordProgress {
  std::int64_t elapsed_ns = 0;
  std::int64_t planned_ns = 0;
  std::int64_t probe_count = 0;
  std::int64_t wait_count = 0;
};

struct RecordOutcome {
  std::string bundle_path;
  bool interrupted = false;
  /// Why recording ended before its time (a full disk). The bundle holds what came before.
  std::optional<base::Error> error;
};

/// Records into a new bundle until the duration has passed or an InterruptGuard was asked to end: probes and traces at once, takes
/// the census afterwards. Fails without leaving a bundle when nothing can be recorded.
[[nodiscard]] base::Result<RecordOutcome> record(const RecordOptions& options,
                                                 const std::function<void(const RecordProgress&)>& on_progress);

}  // namespace stallscope::cli
