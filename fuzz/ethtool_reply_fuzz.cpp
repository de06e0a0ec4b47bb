// SPDX-License-Identifier: Apache-2.0
// Any bytes as the kernel's answer about receive hashing, and what comes out as a device whose queues are predicted.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "host/ethtool_netlink.h"
#include "rss/queue_map.h"

namespace stallscope::host {
namespace {

constexpr std::uint32_t sequence = 2;

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

void predict(const RssReply& reply) {
  rss::ReceiveQueues device;
  device.device = "eth0";
  device.key = reply.key;
  device.table = reply.table;
  device.hash_function = reply.hash_function;
  device.transform = static_cast<rss::InputTransform>(reply.input_transform.value_or(0) % 3);
  device.fields.fill(rss::fields_addresses | rss::fields_ports);
  const base::Result<rss::QueueMap> map = rss::QueueMap::make(device);
  if (!map) {
    return;
  }
  for (const rss::PacketKind kind : rss::all_packet_kinds) {
    rss::Flow flow;
    flow.kind = kind;
    flow.source.fill(0xa5);
    flow.source_port = 0x1234;
    const auto queue = map->queue_of(flow);
    // IPv4 needs 16 bytes of key, IPv6 40.
    require(bool(queue) == (reply.key.size() >= (flow.v6() ? 40U : 16U)));
    require(device.transform == rss::InputTransform::none || map->hash_of(flow) == map->hash_of(flow.reply()));
  }
}

}  // namespace
}  // namespace stallscope::host

// NOLINTNEXTLINE(readability-identifier-naming): the name libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stallscope::host;
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  if (const auto reply = parse_rss_reply(bytes, sequence, "eth0")) {
    require(reply->table.size() * sizeof(std::uint32_t) <= size && reply->key.size() <= size);
    predict(*reply);
  }
  if (const auto family = parse_family_reply(bytes, sequence)) {
    require(size >= sizeof(std::uint16_t));
  }
  return 0;
}
