// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "evidence/records.h"
#include "host/hardware_timestamping.h"
#include "probe/endpoint.h"
#include "probe/phc.h"

namespace stallscope::probe {

/// Which card's timestamps a run of probes can use, if any.
struct HardwareStampChoice {
  /// Of /dev/ptpN, to which all of them relate; nothing: there are none to use.
  std::optional<std::int32_t> phc_index;
  bool receive = false;
  bool transmit = false;
  /// What would be there and is switched off, or cannot be told apart.
  std::optional<evidence::GapRecord> gap;
};

/// Of the devices that probes leave by. A timestamp does not say whose clock it is of, so all have to share one. Pure.
[[nodiscard]] HardwareStampChoice choose_hardware_stamps(std::span<const host::HardwareTimestamping> devices);

struct HardwareStamps {
  /// Nothing: no hardware timestamp can be used.
  std::optional<PhcClock> clock;
  bool receive = false;
  bool transmit = false;
  std::optional<evidence::GapRecord> gap;
};

/// For probes from these addresses, in the calling thread's network namespace. Blocks for microseconds for each of the devices
/// that have them. Changes no setting: timestamps are used where something else has switched them on.
[[nodiscard]] HardwareStamps find_hardware_stamps(std::span<const Endpoint> sources);

}  // namespace stallscope::probe
