// SPDX-License-Identifier: Apache-2.0
#include "cli/queues_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rss/testing.h"

namespace stallscope::cli {
namespace {

TEST(QueuesOutput, EachPortIsWithTheQueueThatItsHashChooses) {
  const rss::Flow flow = rss::tcp_flow("66.9.149.187", 0, "161.142.100.80", 1766);
  const base::Result<rss::QueueMap> map = rss::QueueMap::make(rss::device_with(4));
  ASSERT_TRUE(map);
  const base::Result<PortsByQueue> predicted = predict_ports(*map, flow, {2'790, 2'800});
  ASSERT_TRUE(predicted);
  ASSERT_EQ(predicted->ports.size(), 4U);
  std::size_t count = 0;
  for (const auto& [queue, ports] : predicted->ports) {
    count += ports.size();
    for (const std::uint16_t port : ports) {
      EXPECT_EQ(map->queue_of(rss::tcp_flow("66.9.149.187", port, "161.142.100.80", 1766)), queue);
    }
  }
  EXPECT_EQ(count, 11U);
  // Of Microsoft's verification suite: port 2794 hashes to 0x51ccc178.
  EXPECT_THAT(predicted->ports.at(0x51ccc178U % 4), testing::Contains(2'794));
  EXPECT_THAT(render_ports_by_queue(*predicted, 80), testing::HasSubstr("From 66.9.149.187 to 161.142.100.80, TCP port 1766"));
  const report::Json json = ports_by_queue_json(*predicted);
  EXPECT_EQ(json["protocol"], "tcp");
  EXPECT_EQ(json["queues"].size(), 4U);
}

TEST(QueuesOutput, AQueueThatNoPortReachesSaysSo) {
  const base::Result<rss::QueueMap> map = rss::QueueMap::make(rss::device_with(4));
  ASSERT_TRUE(map);
  const base::Result<PortsByQueue> predicted = predict_ports(*map, rss::tcp_flow("10.0.1.1", 0, "10.0.1.2", 443), {1'000, 1'000});
  ASSERT_TRUE(predicted);
  EXPECT_THAT(render_ports_by_queue(*predicted, 80), testing::HasSubstr(": none of these ports\n"));
}

TEST(QueuesOutput, WhatTheDeviceDoesNotSayIsNotGuessed) {
  rss::ReceiveQueues device = rss::device_with(4);
  device.fields[static_cast<std::size_t>(rss::PacketKind::tcp4)].reset();
  const base::Result<rss::QueueMap> map = rss::QueueMap::make(device);
  ASSERT_TRUE(map);
  EXPECT_FALSE(predict_ports(*map, rss::tcp_flow("10.0.1.1", 0, "10.0.1.2", 443), {1'000, 1'000}));
}

}  // namespace
}  // namespace stallscope::cli
