// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "probe/source_ports.h"
#include "report/json_parts.h"
#include "rss/queue_map.h"

// Which source ports reach which receive queue, as `stallscope queues` says it. Pure.
namespace stallscope::cli {

struct PortsByQueue {
  /// What is the same for all ports.
  rss::Flow flow;
  /// In order; a queue that no port reaches has none.
  std::map<std::uint32_t, std::vector<std::uint16_t>> ports;
};

/// The error says why nothing can be predicted: the device hashes such packets in a way that is not known.
[[nodiscard]] base::Result<PortsByQueue> predict_ports(const rss::QueueMap& queues, const rss::Flow& flow, probe::PortRange ports);

/// "From 10.0.1.1 to 10.0.1.2, TCP port 443: ...", each line ended by a line feed.
[[nodiscard]] std::string render_ports_by_queue(const PortsByQueue& predicted, std::size_t width);
[[nodiscard]] report::Json ports_by_queue_json(const PortsByQueue& predicted);

}  // namespace stallscope::cli
