// SPDX-License-Identifier: Apache-2.0
#include "rss/hash_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "rss/testing.h"

namespace stallscope::rss {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Key = std::vector<std::uint8_t>;

TEST(ParseKey, reads_bytes_with_and_without_colons) {
  EXPECT_EQ(*parse_key("6d:5A:00:ff"), (Key{0x6d, 0x5a, 0x00, 0xff}));
  EXPECT_EQ(*parse_key("6d5a00ff"), (Key{0x6d, 0x5a, 0x00, 0xff}));
}

TEST(ParseKey, refuses_what_is_no_key_and_does_not_repeat_it) {
  for (const std::string text : {"", ":", "6d:", "6d:5", "6d::5a", ":6d", "6d-5a", "6d:5g", "0x6d", "6d 5a", "-1:+2"}) {
    const base::Result<Key> key = parse_key(text);
    ASSERT_FALSE(key) << text;
    if (text.size() > 2) {
      EXPECT_THAT(key.error().message(), Not(HasSubstr(text)));
    }
  }
  EXPECT_EQ(parse_key("6d:5g").error().reason, "its byte 2 is not two hexadecimal digits");
}

TEST(DeviceWithKey, predicts_as_one_that_says_the_same) {
  const QueueMap given = *QueueMap::make(device_with_key(verification_key, 6, fields_addresses | fields_ports));
  const QueueMap told = *QueueMap::make(device_with(6));
  const QueueMap by_addresses = *QueueMap::make(device_with_key(verification_key, 6, fields_addresses));
  Flow flow = tcp_flow("66.9.149.187", 2794, "161.142.100.80", 1766);
  EXPECT_EQ(given.queue_of(flow), told.queue_of(flow));
  EXPECT_NE(given.hash_of(flow), by_addresses.hash_of(flow));
  flow.kind = PacketKind::other4;
  EXPECT_EQ(given.hash_of(flow), 0x323e8fc2U);
}

}  // namespace
}  // namespace stallscope::rss
