// SPDX-License-Identifier: Apache-2.0
#include "rss/queue_map.h"

#include <gtest/gtest.h>

#include <set>

#include "rss/testing.h"

namespace stallscope::rss {
namespace {

TEST(HashInput, is_the_fields_in_network_order_one_after_the_other) {
  const Flow flow = tcp_flow("10.0.1.2", 0x1234, "10.0.2.3", 80);
  const HashInput input = hash_input(flow, fields_addresses | fields_ports, InputTransform::none);
  const std::vector<std::uint8_t> expected = {10, 0, 1, 2, 10, 0, 2, 3, 0x12, 0x34, 0, 80};
  EXPECT_EQ(std::vector<std::uint8_t>(input.span().begin(), input.span().end()), expected);
}

TEST(HashInput, is_combined_as_the_kernel_documents_it) {
  const Flow flow = tcp_flow("10.0.1.2", 0x1200, "10.0.2.3", 0x0034);
  const HashInput both = hash_input(flow, fields_addresses | fields_ports, InputTransform::symmetric_xor);
  EXPECT_EQ(std::vector<std::uint8_t>(both.span().begin(), both.span().end()),
            (std::vector<std::uint8_t>{0, 0, 3, 1, 0, 0, 3, 1, 0x12, 0x34, 0x12, 0x34}));
  const HashInput either = hash_input(flow, fields_addresses | fields_ports, InputTransform::symmetric_or_xor);
  EXPECT_EQ(std::vector<std::uint8_t>(either.span().begin(), either.span().end()),
            (std::vector<std::uint8_t>{10, 0, 3, 3, 0, 0, 3, 1, 0x12, 0x34, 0x12, 0x34}));
}

TEST(QueueMap, looks_the_low_bits_of_the_hash_up_in_the_table) {
  ReceiveQueues device = device_with(4);
  device.table[0x78] = 3;
  device.table[0x42] = 2;
  const base::Result<QueueMap> map = QueueMap::make(device);
  ASSERT_TRUE(map) << map.error().message();
  Flow flow = tcp_flow("66.9.149.187", 2794, "161.142.100.80", 1766);
  // 0x51ccc178 and, for ICMP, 0x323e8fc2: the low seven bits.
  EXPECT_EQ(map->queue_of(flow), 3U);
  flow.kind = PacketKind::other4;
  EXPECT_EQ(map->queue_of(flow), 2U);
  EXPECT_EQ(map->queues(), (std::vector<std::uint32_t>{0, 1, 2, 3}));
}

TEST(QueueMap, of_a_symmetric_transform_puts_both_directions_into_one_queue) {
  for (const InputTransform transform : {InputTransform::symmetric_xor, InputTransform::symmetric_or_xor}) {
    ReceiveQueues device = device_with(8);
    device.transform = transform;
    const base::Result<QueueMap> map = QueueMap::make(device);
    ASSERT_TRUE(map);
    std::set<std::uint32_t> used;
    for (std::uint16_t port = 40'000; port < 40'100; ++port) {
      const Flow flow = tcp_flow("10.0.1.1", port, "10.0.1.2", 80);
      EXPECT_EQ(map->hash_of(flow), map->hash_of(flow.reply()));
      used.insert(*map->queue_of(flow));
    }
    EXPECT_GT(used.size(), 1U);
  }
}

TEST(QueueMap, does_not_predict_what_the_device_does_not_say) {
  ReceiveQueues device = device_with(4);
  device.fields[static_cast<std::size_t>(PacketKind::tcp4)].reset();
  device.fields[static_cast<std::size_t>(PacketKind::udp4)] = fields_addresses | field_vlan;
  device.fields[static_cast<std::size_t>(PacketKind::other4)] = field_ip_source;
  const base::Result<QueueMap> map = QueueMap::make(device);
  ASSERT_TRUE(map);
  Flow flow = tcp_flow("10.0.1.1", 1, "10.0.1.2", 2);
  for (const PacketKind kind : {PacketKind::tcp4, PacketKind::udp4, PacketKind::other4}) {
    flow.kind = kind;
    EXPECT_FALSE(map->queue_of(flow)) << packet_kind_id(kind);
  }
  // Long enough for IPv4, too short for the ports of IPv6.
  device = device_with(4);
  device.key.resize(36);
  EXPECT_FALSE(QueueMap::make(device)->queue_of(tcp_flow("fe80::1", 1, "fe80::2", 2)));
  EXPECT_TRUE(QueueMap::make(device)->queue_of(tcp_flow("10.0.1.1", 1, "10.0.1.2", 2)));
}

TEST(QueueMap, refuses_what_it_does_not_understand_and_says_why) {
  const auto reason = [](const ReceiveQueues& device) {
    const base::Result<QueueMap> map = QueueMap::make(device);
    return map ? std::string("none") : map.error().reason;
  };
  ReceiveQueues device = device_with(4);
  device.hash_function = hash_crc32;
  EXPECT_EQ(reason(device), "its hash function (0x4) is not Toeplitz");
  device = device_with(4);
  device.key.clear();
  EXPECT_EQ(reason(device), "it has no hash key, or does not give it away");
  EXPECT_EQ(reason(device_with(4, 48)), "its indirection table has 48 entries, which is not a power of two");
  EXPECT_EQ(reason(device_with(4, 0)), "its indirection table has 0 entries, which is not a power of two");
  device = device_with(4);
  device.table[5] = 4;
  EXPECT_EQ(reason(device), "its indirection table names queue 4 of 4");
}

TEST(Text, of_cpus_and_fields) {
  EXPECT_EQ(cpu_list({0, 1, 2, 8, 10, 11}), "0-2,8,10-11");
  EXPECT_EQ(cpu_list({}), "none");
  EXPECT_EQ(fields_text(fields_addresses | fields_ports), "addresses and ports");
  EXPECT_EQ(fields_text(fields_addresses), "addresses");
  EXPECT_EQ(fields_text(field_ip_source | field_destination_port), "source address and destination port");
  EXPECT_EQ(fields_text(field_vlan), "others (0x4)");
  EXPECT_EQ(fields_text(0), "nothing");
}

}  // namespace
}  // namespace stallscope::rss
