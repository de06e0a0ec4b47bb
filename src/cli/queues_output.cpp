// SPDX-License-Identifier: Apache-2.0
#include "cli/queues_output.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "base/units.h"
#include "capture/evidence.h"

namespace stallscope::cli {
namespace {

/// Enough to probe each queue from; the rest is in the JSON.
constexpr std::size_t shown_ports = 6;

bool is_tcp(const rss::Flow& flow) {
  return flow.kind == rss::PacketKind::tcp4 || flow.kind == rss::PacketKind::tcp6;
}

}  // namespace

base::Result<PortsByQueue> predict_ports(const rss::QueueMap& queues, const rss::Flow& flow, probe::PortRange ports) {
  PortsByQueue predicted{flow, {}};
  for (const std::uint32_t queue : queues.queues()) {
    predicted.ports[queue];
  }
  rss::Flow each = flow;
  for (std::uint32_t port = ports.first; port <= ports.last; ++port) {
    each.source_port = static_cast<std::uint16_t>(port);
    const std::optional<std::uint32_t> queue = queues.queue_of(each);
    if (!queue) {
      return base::Error{"predict", fmt::format("queues of {} packets", rss::packet_kind_id(flow.kind)),
                         "the device does not say what it hashes of them, or hashes more than addresses and ports", ""};
    }
    predicted.ports[*queue].push_back(each.source_port);
  }
  return predicted;
}

std::string render_ports_by_queue(const PortsByQueue& predicted, std::size_t width) {
  const rss::Flow& flow = predicted.flow;
  std::string text =
      base::wrap(fmt::format("From {} to {}, {} port {}, the source port chooses the queue (predicted, not observed):",
                             capture::address_text(flow.source, flow.v6()), capture::address_text(flow.destination, flow.v6()),
                             is_tcp(flow) ? "TCP" : "UDP", flow.destination_port),
                 width, 2) +
      "\n";
  for (const auto& [queue, ports] : predicted.ports) {
    std::string line = fmt::format("  queue {:>3}: ", queue);
    const std::size_t shown = std::min(ports.size(), shown_ports);
    for (std::size_t at = 0; at < shown; ++at) {
      line += fmt::format("{}{}", at == 0 ? "" : ", ", ports[at]);
    }
    if (ports.empty()) {
      line += "none of these ports";
    } else if (shown < ports.size()) {
      line += fmt::format(" and {} more", base::format_count(static_cast<std::int64_t>(ports.size() - shown)));
    }
    text += line + "\n";
  }
  return text;
}

report::Json ports_by_queue_json(const PortsByQueue& predicted) {
  const rss::Flow& flow = predicted.flow;
  report::Json queues = report::Json::array();
  for (const auto& [queue, ports] : predicted.ports) {
    queues.push_back({{"queue", queue}, {"source_ports", ports}});
  }
  return {{"source_address", capture::address_text(flow.source, flow.v6())},
          {"target_address", capture::address_text(flow.destination, flow.v6())},
          {"protocol", is_tcp(flow) ? "tcp" : "udp"},
          {"target_port", flow.destination_port},
          {"queues", std::move(queues)}};
}

}  // namespace stallscope::cli
