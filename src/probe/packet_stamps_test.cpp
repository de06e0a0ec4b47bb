// SPDX-License-Identifier: Apache-2.0
#include "probe/packet_stamps.h"

#include <gtest/gtest.h>
#include <linux/net_tstamp.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <ctime>

namespace stallscope::probe {
namespace {

/// A control message as recvmsg(2) gives it.
struct Message {
  Message(int level, int type, std::array<timespec, 3> stamps) {
    header().cmsg_level = level;
    header().cmsg_type = type;
    header().cmsg_len = CMSG_LEN(sizeof stamps);
    std::memcpy(CMSG_DATA(&header()), stamps.data(), sizeof stamps);
  }
  cmsghdr& header() { return *reinterpret_cast<cmsghdr*>(bytes.data()); }

  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(std::array<timespec, 3>))> bytes{};
};

TEST(PacketStamps, TellsTheKernelsTimeFromTheCards) {
  Message both(SOL_SOCKET, SCM_TIMESTAMPING, {{{1'700'000'000, 5}, {}, {37, 250}}});
  EXPECT_EQ(stamps_of(both.header()).software_ns, 1'700'000'000'000'000'005);
  EXPECT_EQ(stamps_of(both.header()).hardware_ns, 37'000'000'250);
  Message hardware(SOL_SOCKET, SCM_TIMESTAMPING, {{{}, {}, {0, 40}}});
  EXPECT_FALSE(stamps_of(hardware.header()).software_ns);
  EXPECT_EQ(stamps_of(hardware.header()).hardware_ns, 40) << "a card's clock may have begun at 0";
  Message software(SOL_SOCKET, SCM_TIMESTAMPING, {{{1, 0}, {}, {}}});
  EXPECT_EQ(stamps_of(software.header()).software_ns, 1'000'000'000);
  EXPECT_FALSE(stamps_of(software.header()).hardware_ns);
  Message old_style(SOL_SOCKET, SCM_TIMESTAMPING, {{{}, {9, 9}, {}}});
  EXPECT_FALSE(stamps_of(old_style.header()).any());
}

TEST(PacketStamps, OtherMessagesHoldNone) {
  Message other(SOL_SOCKET, SO_RXQ_OVFL, {{{1, 1}, {}, {1, 1}}});
  EXPECT_FALSE(stamps_of(other.header()).any());
  Message foreign(SOL_SOCKET + 1, SCM_TIMESTAMPING, {{{1, 1}, {}, {1, 1}}});
  EXPECT_FALSE(stamps_of(foreign.header()).any());
  Message cut(SOL_SOCKET, SCM_TIMESTAMPING, {{{1, 1}, {}, {1, 1}}});
  cut.header().cmsg_len = CMSG_LEN(2 * sizeof(timespec));
  EXPECT_FALSE(stamps_of(cut.header()).any());
}

TEST(StampRequest, AsksForTheCardsTimestampsOnlyWhereToldTo) {
  constexpr unsigned hardware = SOF_TIMESTAMPING_RX_HARDWARE | SOF_TIMESTAMPING_TX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE;
  EXPECT_EQ(StampRequest{}.all_flags() & hardware, 0U);
  const StampRequest receive{.transmit = false, .hardware_receive = true, .hardware_transmit = true};
  EXPECT_EQ(receive.all_flags() & hardware, SOF_TIMESTAMPING_RX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE);
  EXPECT_EQ(receive.all_flags(), receive.receive_flags());
  const StampRequest all{.transmit = true, .hardware_receive = true, .hardware_transmit = true};
  EXPECT_EQ(all.all_flags() & hardware, hardware);
  EXPECT_NE(all.all_flags() & SOF_TIMESTAMPING_OPT_TX_SWHW, 0U) << "else the kernel's transmit timestamp is lost";
  EXPECT_NE(all.all_flags() & SOF_TIMESTAMPING_TX_SOFTWARE, 0U);
}

}  // namespace
}  // namespace stallscope::probe
