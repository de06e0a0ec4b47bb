// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "diagnose/target_shapes.h"
#include "evidence/records.h"
#include "report/json_parts.h"
#include "report/shape.h"
#include "rss/learning.h"
#include "rss/queue_map.h"

// Which receive queues of a host flows use, by which of them stalled together, and whether a hash key agrees. Pure.
namespace stallscope::cli {

/// Predicted queues, each taken for one flow: of those that stood still as a whole while others passed.
struct QueuesHeld {
  std::vector<std::uint32_t> stalled;
  std::vector<std::uint32_t> passing;
  /// A clause without a full stop.
  std::string why;
};

/// What a key predicts for the flows that stalled, beside what they did.
struct QueuePrediction {
  /// By number of the flow; nothing where nothing is predicted.
  std::vector<std::optional<std::uint32_t>> flow_queues;
  rss::PredictionCheck check;
  /// Of each group of StalledQueues::learned, the queues whose flows are mostly in it, and how many of its flows are predicted to
  /// be of these. Only to be told where the check confirms the prediction.
  std::vector<std::vector<std::uint32_t>> queues;
  std::vector<std::int64_t> agreeing_counts;
  /// Flows for which nothing is predicted.
  std::int64_t unpredicted_count = 0;
  /// Where no flow was seen often enough to be in a group, as with a connection for each request. A wrong key deals packets out at
  /// random, so that no queue of its stalls as a whole: this needs no other check.
  std::optional<QueuesHeld> queues_held;
};

/// Of one receiving host.
struct StalledQueues {
  std::string address;
  /// By number of the flow.
  std::vector<report::FlowName> names;
  rss::LearnedQueues learned;
  /// Whether a stall was that of one queue, or may have been: else there is nothing to be named.
  bool one_queue_may_have_stalled = false;
  /// Nothing without a key.
  std::optional<QueuePrediction> prediction;

  /// Whether what the key predicts may be told.
  [[nodiscard]] bool names_queues() const;
};

/// The flows that `host` receives: requests to it, and answers to its own requests. Flows stand in it as they were recorded, seen
/// from who asked. Nothing where there is none.
[[nodiscard]] std::optional<diagnose::TargetShape> received_by(const evidence::Evidence& evidence, const std::string& host);

/// Only stalls of one queue tell. Without a key, flows that stalled together less than twice are in no group; with one, the flows
/// of a single stall are a group that can be compared.
[[nodiscard]] StalledQueues find_stalled_queues(const diagnose::TargetShape& host, const std::optional<rss::QueueMap>& key);

/// Groups, and what the key says of them; each line ended by a line feed. Empty where there is nothing to be said.
[[nodiscard]] std::string render_stalled_queues(const StalledQueues& host, std::size_t width);
[[nodiscard]] report::Json stalled_queues_json(const StalledQueues& host);

}  // namespace stallscope::cli
