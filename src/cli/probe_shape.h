// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "diagnose/target_shapes.h"
#include "rss/queue_map.h"

// The shape of late and lost probes, as `stallscope probe` prints it. Pure.
namespace stallscope::cli {

struct ProbeShapes {
  std::vector<diagnose::TargetShape> targets;
  /// Probes beyond what is kept in memory for it.
  std::int64_t left_out_count = 0;
  std::int64_t realtime_offset_ns = 0;
  /// Of the targets' network cards.
  std::optional<rss::QueueMap> key;
};

struct ProbeShapeTextOptions {
  std::size_t width = 80;
  /// Whether the heat map may use blocks of UTF-8.
  bool utf8 = false;
  /// Every target with late or lost probes, and more of their stalls.
  bool all = false;
};

/// Verdict, stalls, receive queues and a heat map of each target that has late or lost probes and several flows; of the worst few.
/// Empty where there is none.
[[nodiscard]] std::string render_probe_shapes(const ProbeShapes& shapes, const ProbeShapeTextOptions& options);
/// A JSON line of type "shape" for each target that has late or lost probes and several flows (docs/json.md).
[[nodiscard]] std::string probe_shapes_json(const ProbeShapes& shapes);

}  // namespace stallscope::cli
