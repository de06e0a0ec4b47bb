// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <string>

#include "rss/queue_map.h"

namespace stallscope::rss {

/// For tests: the key that Microsoft's verification of RSS uses.
inline const std::vector<std::uint8_t> verification_key = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
    0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

/// A TCP flow between addresses as inet_pton reads them.
inline Flow tcp_flow(const std::string& source, std::uint16_t source_port, const std::string& destination,
                     std::uint16_t destination_port) {
  const bool v6 = source.find(':') != std::string::npos;
  Flow flow;
  flow.kind = v6 ? PacketKind::tcp6 : PacketKind::tcp4;
  flow.source_port = source_port;
  flow.destination_port = destination_port;
  EXPECT_EQ(::inet_pton(v6 ? AF_INET6 : AF_INET, source.c_str(), flow.source.data()), 1);
  EXPECT_EQ(::inet_pton(v6 ? AF_INET6 : AF_INET, destination.c_str(), flow.destination.data()), 1);
  return flow;
}

/// A device with that key that hashes addresses and, of TCP, ports, over `queue_count` queues in turn.
inline ReceiveQueues device_with(std::int32_t queue_count, std::size_t table_size = 128) {
  ReceiveQueues queues;
  queues.device = "eth0";
  queues.queue_count = queue_count;
  queues.key = verification_key;
  queues.hash_function = hash_toeplitz;
  queues.transform = InputTransform::none;
  for (std::size_t entry = 0; entry < table_size; ++entry) {
    queues.table.push_back(static_cast<std::uint32_t>(entry) % static_cast<std::uint32_t>(queue_count));
  }
  queues.fields.fill(fields_addresses);
  queues.fields[static_cast<std::size_t>(PacketKind::tcp4)] = fields_addresses | fields_ports;
  queues.fields[static_cast<std::size_t>(PacketKind::tcp6)] = fields_addresses | fields_ports;
  return queues;
}

}  // namespace stallscope::rss
