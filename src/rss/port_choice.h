// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "rss/queue_map.h"

namespace stallscope::rss {

struct PortWish {
  /// The flow to the remote host; its source port is what is chosen.
  Flow flow;
  std::uint16_t first_port = 32'768;
  std::uint16_t last_port = 60'999;
  /// How many source ports shall reach each remote queue.
  std::int32_t ports_per_queue = 1;
};

struct ChosenPort {
  std::uint16_t port = 0;
  std::uint32_t remote_queue = 0;
  /// Where the reply arrives; nothing where that cannot be predicted.
  std::optional<std::uint32_t> local_queue;

  friend bool operator==(const ChosenPort&, const ChosenPort&) = default;
};

struct PortChoice {
  /// In order of port.
  std::vector<ChosenPort> ports;
  /// Remote queues that fewer ports reach than were wished for: none of the range does.
  std::vector<std::uint32_t> short_queues;
};

/// The fewest source ports that reach every remote queue as often as wished, which is that often for each. Of ports that reach the
/// same remote queue, those are taken whose replies spread most evenly over the local queues. Without a map for this host replies
/// are not predicted.
[[nodiscard]] PortChoice choose_ports(const QueueMap& remote, const QueueMap* local, const PortWish& wish);

}  // namespace stallscope::rss
