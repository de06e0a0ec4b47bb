// SPDX-License-Identifier: Apache-2.0
#include "host/ethtool_netlink.h"

#include <gtest/gtest.h>
#include <linux/netlink.h>

#include <cstring>

namespace stallscope::host {
namespace {

constexpr std::uint32_t sequence = 2;

std::vector<std::byte> bytes(const std::vector<int>& values) {
  std::vector<std::byte> out;
  for (const int value : values) {
    out.push_back(static_cast<std::byte>(value));
  }
  return out;
}

/// A message with a header, little-endian as on the machines there are.
std::vector<std::byte> message(int type, std::uint32_t with_sequence, const std::vector<int>& body) {
  std::vector<std::byte> out(sizeof(nlmsghdr));
  nlmsghdr header{};
  header.nlmsg_len = static_cast<std::uint32_t>(sizeof(nlmsghdr) + body.size());
  header.nlmsg_type = static_cast<std::uint16_t>(type);
  header.nlmsg_seq = with_sequence;
  std::memcpy(out.data(), &header, sizeof(header));
  const std::vector<std::byte> content = bytes(body);
  out.insert(out.end(), content.begin(), content.end());
  return out;
}

/// The generic header, then hash function 1, a table of 1 0, a key of 3 bytes with padding, transform 2, and an unknown attribute.
const std::vector<int> whole_body = {38, 1, 0,  0,                          //
                                     8,  0, 3,  0, 1, 0, 0, 0,              //
                                     12, 0, 4,  0, 1, 0, 0, 0, 0, 0, 0, 0,  //
                                     7,  0, 5,  0, 9, 8, 7, 0,              //
                                     8,  0, 6,  0, 2, 0, 0, 0,              //
                                     4,  0, 99, 0};

TEST(RssReply, is_read_with_all_its_attributes) {
  const base::Result<RssReply> reply = parse_rss_reply(message(20, sequence, whole_body), sequence, "eth0");
  ASSERT_TRUE(reply) << reply.error().message();
  EXPECT_EQ(*reply, (RssReply{1, {1, 0}, {9, 8, 7}, 2}));
}

TEST(RssReply, is_found_behind_another_message) {
  std::vector<std::byte> both = message(20, sequence + 1, {1, 1, 0, 0});
  const std::vector<std::byte> ours = message(20, sequence, whole_body);
  both.insert(both.end(), ours.begin(), ours.end());
  EXPECT_TRUE(parse_rss_reply(both, sequence, "eth0"));
  EXPECT_FALSE(parse_rss_reply(both, sequence + 7, "eth0"));
}

TEST(RssReply, of_a_refusal_has_the_kernels_reason) {
  const base::Result<RssReply> reply = parse_rss_reply(message(NLMSG_ERROR, sequence, {0xa1, 0xff, 0xff, 0xff}), sequence, "eth0");
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().reason, "Operation not supported");
  EXPECT_FALSE(parse_rss_reply(message(NLMSG_ERROR, sequence, {0, 0, 0, 0}), sequence, "eth0"));
  EXPECT_FALSE(parse_rss_reply(message(NLMSG_ERROR, sequence, {1, 0}), sequence, "eth0"));
}

TEST(RssReply, that_is_cut_anywhere_is_refused_or_whole) {
  const std::vector<std::byte> whole = message(20, sequence, whole_body);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    // The header promises more than there is.
    EXPECT_FALSE(parse_rss_reply(std::span(whole).first(size), sequence, "eth0")) << size;
  }
  EXPECT_FALSE(parse_rss_reply(message(20, sequence, {38, 1, 0, 0, 3, 0, 3, 0}), sequence, "eth0"));
  EXPECT_FALSE(parse_rss_reply(message(20, sequence, {38, 1, 0, 0, 6, 0, 3, 0, 1, 0}), sequence, "eth0"));
  EXPECT_FALSE(parse_rss_reply(message(20, sequence, {38, 1, 0, 0, 7, 0, 4, 0, 1, 0, 0, 0}), sequence, "eth0"));
}

TEST(Requests, are_as_the_kernel_documents_them) {
  // Length 32, the controller, a request; CTRL_CMD_GETFAMILY, version 1; CTRL_ATTR_FAMILY_NAME "ethtool".
  EXPECT_EQ(family_request(1, "ethtool"), bytes({32, 0, 0, 0, 16, 0, 1, 0, 1,   0,   0,   0,   0,   0,   0,   0,  //
                                                 3,  1, 0, 0, 12, 0, 2, 0, 'e', 't', 'h', 't', 'o', 'o', 'l', 0}));
  // A nested header with the device's name.
  EXPECT_EQ(rss_request(0x14, 2, "eth0"), bytes({36, 0, 0, 0, 0x14, 0, 1, 0,    2, 0, 0, 0, 0,   0,   0,   0,  //
                                                 38, 1, 0, 0, 16,   0, 1, 0x80, 9, 0, 2, 0, 'e', 't', 'h', '0', 0, 0, 0, 0}));
}

TEST(FamilyReply, has_the_number_of_the_family) {
  const base::Result<std::uint16_t> family = parse_family_reply(message(16, 1, {1, 2, 0, 0, 6, 0, 1, 0, 0x14, 0, 0, 0}), 1);
  ASSERT_TRUE(family);
  EXPECT_EQ(*family, 0x14);
  EXPECT_FALSE(parse_family_reply(message(16, 1, {1, 2, 0, 0}), 1));
}

}  // namespace
}  // namespace stallscope::host
