// SPDX-License-Identifier: Apache-2.0
#include "host/sockets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stallscope::host {
namespace {

using ::testing::ElementsAre;

// Of Linux 6.18; the last row of the first is one of TIME_WAIT, which belongs to nobody.
constexpr std::string_view tcp =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    "   0: 0201000A:1F90 00000000:0000 0A 00000000:00000002 00:00000000 00000000     0        0 11820 1 0000000000000000 100 0 0 "
    "10 0\n"
    "   1: 0201000A:1F90 0101000A:9C40 01 00000000:00010000 00:00000000 00000000     0        0 11821 1 0000000000000000 20 4 30 "
    "10 -1\n"
    "   2: 0201000A:1F90 0101000A:9C42 06 00000000:00000000 03:0000176F 00000000     0        0 0 3 0000000000000000\n";
constexpr std::string_view udp6 =
    "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   "
    "uid  "
    "timeout inode ref pointer drops\n"
    " 3210: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00034000 00:00000000 00000000  "
    " 101  "
    "      0 19132 2 0000000000000000 417\n"
    " 3211: 00000000000000000000000001000000:9C40 00000000000000000000000001000000:0035 01 00000000:00000000 00:00000000 00000000  "
    " 101  "
    "      0 19133 2 0000000000000000 0\n";

TEST(Sockets, rows_of_tcp_tell_listeners_from_connections) {
  const auto sockets = parse_sockets(tcp, "tcp");
  ASSERT_TRUE(sockets);
  EXPECT_THAT(*sockets, ElementsAre(SocketState{"tcp", "10.0.1.2:8080", true, 2, -1, 11820},
                                    SocketState{"tcp", "10.0.1.2:8080", false, 65'536, -1, 11821, true}));
}

TEST(Sockets, rows_of_udp_have_drops_and_tell_who_is_connected) {
  const auto sockets = parse_sockets(udp6, "udp6");
  ASSERT_TRUE(sockets);
  EXPECT_THAT(*sockets, ElementsAre(SocketState{"udp6", "[::1]:53", false, 212'992, 417, 19132},
                                    SocketState{"udp6", "[::1]:40000", false, 0, 0, 19133, true}));
}

TEST(Sockets, what_is_not_understood_is_an_error_and_no_empty_list) {
  EXPECT_FALSE(parse_sockets("header\n 0: nonsense\n", "tcp"));
  EXPECT_FALSE(parse_sockets("header\n 0: 0201000A:1F90 00000000:0000 0A 0 0 0 0 0 0 1\n", "tcp"));
  EXPECT_FALSE(parse_sockets("header\n 0: 0201000:1F90 00000000:0000 0A 0:0 0 0 0 0 0 1\n", "tcp"));
}

}  // namespace
}  // namespace stallscope::host
