// SPDX-License-Identifier: Apache-2.0
#include "host/hardware_timestamping.h"

#include <linux/ethtool.h>
#include <linux/net_tstamp.h>

namespace stallscope::host {

HardwareTimestamping hardware_timestamping_of(const std::string& device, const ethtool_ts_info& info,
                                              const hwtstamp_config* config) {
  const auto can = [&](std::uint32_t direction) {
    const std::uint32_t all = direction | SOF_TIMESTAMPING_RAW_HARDWARE;
    return (info.so_timestamping & all) == all;
  };
  HardwareTimestamping timestamping;
  timestamping.device = device;
  if (info.phc_index >= 0) {
    timestamping.phc_index = info.phc_index;
  }
  timestamping.can_receive = can(SOF_TIMESTAMPING_RX_HARDWARE) && (info.rx_filters & (1U << HWTSTAMP_FILTER_ALL)) != 0;
  timestamping.can_transmit = can(SOF_TIMESTAMPING_TX_HARDWARE) && (info.tx_types & (1U << HWTSTAMP_TX_ON)) != 0;
  if (config != nullptr) {
    timestamping.receives = config->rx_filter == HWTSTAMP_FILTER_ALL;
    timestamping.transmits = config->tx_type == HWTSTAMP_TX_ON;
  }
  return timestamping;
}

}  // namespace stallscope::host
