// SPDX-License-Identifier: Apache-2.0
#include "rss/port_choice.h"

#include <gtest/gtest.h>

#include <set>

#include "rss/testing.h"

namespace stallscope::rss {
namespace {

PortWish wish_for(std::int32_t ports_per_queue) {
  PortWish wish;
  wish.flow = tcp_flow("10.0.1.1", 0, "10.0.1.2", 80);
  wish.ports_per_queue = ports_per_queue;
  return wish;
}

TEST(PortChoice, reaches_every_queue_as_often_as_wished_and_no_more) {
  const QueueMap remote = *QueueMap::make(device_with(16));
  const PortChoice choice = choose_ports(remote, nullptr, wish_for(3));
  EXPECT_EQ(choice.ports.size(), 48U);
  EXPECT_TRUE(choice.short_queues.empty());
  std::map<std::uint32_t, int> reached;
  std::set<std::uint16_t> ports;
  for (const ChosenPort& port : choice.ports) {
    Flow flow = wish_for(3).flow;
    flow.source_port = port.port;
    EXPECT_EQ(remote.queue_of(flow), port.remote_queue);
    EXPECT_FALSE(port.local_queue);
    ++reached[port.remote_queue];
    ports.insert(port.port);
  }
  EXPECT_EQ(ports.size(), 48U);
  for (const auto& [queue, count] : reached) {
    EXPECT_EQ(count, 3) << queue;
  }
}

TEST(PortChoice, spreads_replies_over_the_local_queues) {
  const QueueMap remote = *QueueMap::make(device_with(4));
  ReceiveQueues here = device_with(4);
  std::reverse(here.key.begin(), here.key.end());
  const QueueMap local = *QueueMap::make(here);
  const PortChoice choice = choose_ports(remote, &local, wish_for(4));
  std::set<std::pair<std::uint32_t, std::uint32_t>> cells;
  for (const ChosenPort& port : choice.ports) {
    ASSERT_TRUE(port.local_queue);
    cells.emplace(port.remote_queue, *port.local_queue);
  }
  // Each remote queue with each local one.
  EXPECT_EQ(cells.size(), 16U);
}

TEST(PortChoice, says_which_queues_no_port_reaches) {
  const QueueMap remote = *QueueMap::make(device_with(4));
  PortWish wish = wish_for(1);
  // Addresses alone decide: every port has the same queue.
  wish.flow.kind = PacketKind::udp4;
  const PortChoice choice = choose_ports(remote, nullptr, wish);
  EXPECT_EQ(choice.ports.size(), 1U);
  EXPECT_EQ(choice.short_queues.size(), 3U);
}

}  // namespace
}  // namespace stallscope::rss
