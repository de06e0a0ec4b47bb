// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

struct ethtool_ts_info;
struct hwtstamp_config;

namespace stallscope::host {

/// How far a network device times packets itself, by a clock of its own (Documentation/networking/timestamping.rst, 6.1).
struct HardwareTimestamping {
  std::string device;
  /// N of its clock's /dev/ptpN. Without one its timestamps cannot be compared with any other time.
  std::optional<std::int32_t> phc_index{};
  /// It can stamp every packet that it receives, not just those of PTP; and those that it sends.
  bool can_receive = false;
  bool can_transmit = false;
  /// What it is set to, for all programs together; nothing where the driver does not say.
  std::optional<bool> receives{};
  std::optional<bool> transmits{};

  [[nodiscard]] bool may_receive() const { return phc_index && can_receive && receives.value_or(true); }
  [[nodiscard]] bool may_transmit() const { return phc_index && can_transmit && transmits.value_or(true); }
};

/// From the answers to ETHTOOL_GET_TS_INFO and SIOCGHWTSTAMP; `config` is null where the driver does not answer the latter.
[[nodiscard]] HardwareTimestamping hardware_timestamping_of(const std::string& device, const ethtool_ts_info& info,
                                                            const hwtstamp_config* config);

}  // namespace stallscope::host
