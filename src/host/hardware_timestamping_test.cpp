// SPDX-License-Identifier: Apache-2.0
#include "host/hardware_timestamping.h"

#include <gtest/gtest.h>
#include <linux/ethtool.h>
#include <linux/net_tstamp.h>

namespace stallscope::host {
namespace {

ethtool_ts_info able_card() {
  ethtool_ts_info info{};
  info.so_timestamping = SOF_TIMESTAMPING_TX_HARDWARE | SOF_TIMESTAMPING_RX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE;
  info.phc_index = 3;
  info.tx_types = (1U << HWTSTAMP_TX_OFF) | (1U << HWTSTAMP_TX_ON);
  info.rx_filters = (1U << HWTSTAMP_FILTER_NONE) | (1U << HWTSTAMP_FILTER_ALL);
  return info;
}

hwtstamp_config setting(int tx_type, int rx_filter) {
  hwtstamp_config config{};
  config.tx_type = tx_type;
  config.rx_filter = rx_filter;
  return config;
}

TEST(HardwareTimestamping, OfADeviceThatIsSetToStampEverything) {
  const hwtstamp_config on = setting(HWTSTAMP_TX_ON, HWTSTAMP_FILTER_ALL);
  const HardwareTimestamping timestamping = hardware_timestamping_of("eth0", able_card(), &on);
  EXPECT_EQ(timestamping.phc_index, 3);
  EXPECT_TRUE(timestamping.may_receive());
  EXPECT_TRUE(timestamping.may_transmit());
}

TEST(HardwareTimestamping, WhatIsSwitchedOffIsAbilityOnly) {
  const hwtstamp_config off = setting(HWTSTAMP_TX_OFF, HWTSTAMP_FILTER_NONE);
  const HardwareTimestamping timestamping = hardware_timestamping_of("eth0", able_card(), &off);
  EXPECT_TRUE(timestamping.can_receive);
  EXPECT_TRUE(timestamping.can_transmit);
  EXPECT_FALSE(timestamping.may_receive());
  EXPECT_FALSE(timestamping.may_transmit());
}

TEST(HardwareTimestamping, AFilterForPtpStampsNoProbes) {
  const hwtstamp_config ptp = setting(HWTSTAMP_TX_ON, HWTSTAMP_FILTER_PTP_V2_EVENT);
  EXPECT_FALSE(hardware_timestamping_of("eth0", able_card(), &ptp).may_receive());
  ethtool_ts_info ptp_only = able_card();
  ptp_only.rx_filters = 1U << HWTSTAMP_FILTER_PTP_V2_EVENT;
  EXPECT_FALSE(hardware_timestamping_of("eth0", ptp_only, nullptr).can_receive);
}

TEST(HardwareTimestamping, WhereTheDriverDoesNotSayItMayBeOn) {
  const HardwareTimestamping timestamping = hardware_timestamping_of("eth0", able_card(), nullptr);
  EXPECT_TRUE(timestamping.may_receive());
  EXPECT_TRUE(timestamping.may_transmit());
}

TEST(HardwareTimestamping, WithoutAClockToReadTimestampsAreOfNoUse) {
  ethtool_ts_info clockless = able_card();
  clockless.phc_index = -1;
  EXPECT_FALSE(hardware_timestamping_of("eth0", clockless, nullptr).may_receive());
  EXPECT_FALSE(hardware_timestamping_of("eth0", clockless, nullptr).may_transmit());
}

TEST(HardwareTimestamping, SoftwareTimestampsAreNone) {
  ethtool_ts_info software{};
  software.so_timestamping = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
  software.phc_index = -1;
  const HardwareTimestamping timestamping = hardware_timestamping_of("veth0", software, nullptr);
  EXPECT_FALSE(timestamping.can_receive);
  EXPECT_FALSE(timestamping.can_transmit);
}

}  // namespace
}  // namespace stallscope::host
