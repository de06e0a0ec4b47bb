// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "capture/exchange.h"
#include "capture/flow_table.h"
#include "capture/legs.h"
#include "capture/releases.h"
#include "capture/responses.h"

namespace stallscope::capture {

/// What was found out about a capture before anything is judged.
struct Findings {
  /// Requests with answers, in order of sending, as far as they were kept. What has several legs is there once.
  std::vector<Observation> exchanges;
  /// What proves nothing about queues: data whose ACK may have been delayed on purpose, and responses of applications.
  std::vector<Observation> unjudged;
  TrackerCounts counts;
  LegCounts legs;
  std::int64_t thinned_count = 0;
  std::int64_t left_out_count = 0;
  std::int64_t delayed_ack_count = 0;
  std::int64_t response_count = 0;
  std::vector<ServiceResponses> late_responses;
  std::vector<PacketRelease> releases;
  std::int64_t releases_left_out_count = 0;
  /// Where it was asked for.
  std::unique_ptr<FlowTable> flows;
};

}  // namespace stallscope::capture
