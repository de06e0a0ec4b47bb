// SPDX-License-Identifier: Apache-2.0
#include "probe/hardware_stamps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace stallscope::probe {
namespace {

using host::HardwareTimestamping;
using testing::HasSubstr;

HardwareTimestamping card(std::int32_t phc_index, bool receives, bool transmits) {
  return {.device = "eth0",
          .phc_index = phc_index,
          .can_receive = true,
          .can_transmit = true,
          .receives = receives,
          .transmits = transmits};
}

TEST(HardwareStampChoice, DevicesWithoutAbilityAreNoReasonToSayAnything) {
  const std::array devices = {HardwareTimestamping{.device = "lo"}};
  const HardwareStampChoice choice = choose_hardware_stamps(devices);
  EXPECT_FALSE(choice.phc_index);
  EXPECT_FALSE(choice.gap);
}

TEST(HardwareStampChoice, TakesWhatIsSwitchedOn) {
  const std::array devices = {card(2, true, false)};
  const HardwareStampChoice choice = choose_hardware_stamps(devices);
  EXPECT_EQ(choice.phc_index, 2);
  EXPECT_TRUE(choice.receive);
  EXPECT_FALSE(choice.transmit);
  EXPECT_FALSE(choice.gap);
}

TEST(HardwareStampChoice, SaysWhatIsSwitchedOffAndHowToChangeThat) {
  const std::array devices = {card(2, false, false)};
  const HardwareStampChoice choice = choose_hardware_stamps(devices);
  EXPECT_FALSE(choice.phc_index);
  ASSERT_TRUE(choice.gap);
  EXPECT_THAT(choice.gap->reason, HasSubstr("eth0"));
  EXPECT_THAT(choice.gap->consequence, HasSubstr("hwstamp_ctl"));
}

TEST(HardwareStampChoice, PortsOfOneCardShareItsClock) {
  const std::array devices = {card(2, true, true), card(2, true, true)};
  EXPECT_EQ(choose_hardware_stamps(devices).phc_index, 2);
}

TEST(HardwareStampChoice, TimestampsOfTwoClocksCannotBeToldApart) {
  const std::array devices = {card(2, true, true), card(3, true, true)};
  const HardwareStampChoice choice = choose_hardware_stamps(devices);
  EXPECT_FALSE(choice.phc_index);
  ASSERT_TRUE(choice.gap);
  EXPECT_THAT(choice.gap->reason, HasSubstr("clocks of their own"));
}

TEST(HardwareStamps, LoopbackHasNone) {
  Endpoint loopback;
  loopback.family = AF_INET;
  loopback.address[0] = std::byte{127};
  loopback.address[3] = std::byte{1};
  const std::array sources = {loopback};
  const HardwareStamps stamps = find_hardware_stamps(sources);
  EXPECT_FALSE(stamps.clock);
  EXPECT_FALSE(stamps.gap);
}

}  // namespace
}  // namespace stallscope::probe
