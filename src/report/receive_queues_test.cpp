// SPDX-License-Identifier: Apache-2.0
#include "report/receive_queues.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text.h"

namespace stallscope::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

rss::ReceiveQueues device() {
  rss::ReceiveQueues queues;
  queues.device = "eth0";
  queues.driver = "mlx5_core";
  queues.queue_count = 2;
  queues.key.assign(40, 0xab);
  queues.table = {0, 1, 0, 1};
  queues.hash_function = rss::hash_toeplitz;
  queues.transform = rss::InputTransform::symmetric_or_xor;
  queues.fields[static_cast<std::size_t>(rss::PacketKind::tcp4)] = rss::fields_addresses | rss::fields_ports;
  queues.queues = {{0, std::vector<std::int32_t>{}, 31, {2}}, {1, std::nullopt, std::nullopt, {}}};
  queues.notes = {"A note."};
  return queues;
}

TEST(ReceiveQueuesText, is_a_table_with_what_is_known) {
  EXPECT_EQ(render_receive_queues(device(), 80),
            "eth0 (mlx5_core): 2 receive queues, hash Toeplitz (symmetric-or-xor), key of\n"
            "40 bytes, table of 4\n"
            "  hashed: tcp4 addresses and ports\n"
            "  queue    IRQ  interrupts CPUs   RPS moves to CPUs\n"
            "      0     31  2                 off\n"
            "      1      ?  not known         not known\n"
            "  A note.\n");
}

TEST(ReceiveQueuesText, of_veth_says_there_is_no_key) {
  rss::ReceiveQueues veth;
  veth.device = "veth\x1b[1m";
  veth.queue_count = 1;
  const std::string text = render_receive_queues(veth, 80);
  EXPECT_THAT(text, HasSubstr("1 receive queue, no hash key known"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST(ReceiveQueuesJson, has_no_key_and_says_what_is_unknown) {
  const Json rendered = receive_queues_json(device());
  EXPECT_EQ(rendered["key_bytes"], 40);
  EXPECT_THAT(rendered.dump(), Not(HasSubstr("abab")));
  EXPECT_EQ(rendered["queues"][1]["rps_cpus"], nullptr);
  EXPECT_EQ(rendered["fields"]["tcp4"], "addresses and ports");
  EXPECT_EQ(rendered["fields"]["udp4"], nullptr);
  EXPECT_EQ(rendered["table"].size(), 4U);
}

}  // namespace
}  // namespace stallscope::report
