// SPDX-License-Identifier: Apache-2.0
#include "rss/port_choice.h"

#include <algorithm>
#include <map>

namespace stallscope::rss {

PortChoice choose_ports(const QueueMap& remote, const QueueMap* local, const PortWish& wish) {
  struct Candidate {
    std::uint16_t port = 0;
    std::optional<std::uint32_t> local_queue;
  };
  std::map<std::uint32_t, std::vector<Candidate>> candidates;
  for (const std::uint32_t queue : remote.queues()) {
    candidates[queue];
  }
  Flow flow = wish.flow;
  for (std::uint32_t port = wish.first_port; port <= wish.last_port; ++port) {
    flow.source_port = static_cast<std::uint16_t>(port);
    const std::optional<std::uint32_t> queue = remote.queue_of(flow);
    if (queue) {
      candidates[*queue].push_back({flow.source_port, local != nullptr ? local->queue_of(flow.reply()) : std::nullopt});
    }
  }
  PortChoice choice;
  // How often each local queue was taken, in all and by the remote queue at hand.
  std::map<std::optional<std::uint32_t>, std::int32_t> taken;
  for (auto& [queue, ports] : candidates) {
    std::map<std::optional<std::uint32_t>, std::int32_t> taken_here;
    std::int32_t count = 0;
    for (; count < wish.ports_per_queue && !ports.empty(); ++count) {
      const auto best = std::min_element(ports.begin(), ports.end(), [&](const Candidate& a, const Candidate& b) {
        return std::pair(taken_here[a.local_queue], taken[a.local_queue]) <
               std::pair(taken_here[b.local_queue], taken[b.local_queue]);
      });
      ++taken_here[best->local_queue];
      ++taken[best->local_queue];
      choice.ports.push_back({best->port, queue, best->local_queue});
      ports.erase(best);
    }
    if (count < wish.ports_per_queue) {
      choice.short_queues.push_back(queue);
    }
  }
  std::sort(choice.ports.begin(), choice.ports.end(), [](const ChosenPort& a, const ChosenPort& b) { return a.port < b.port; });
  return choice;
}

}  // namespace stallscope::rss
