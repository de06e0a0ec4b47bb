// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>

namespace stallscope::probe {

/// When the kernel, and when the network card, had a packet.
struct PacketStamps {
  /// CLOCK_REALTIME.
  std::optional<std::int64_t> software_ns;
  /// By the card's own clock: see PhcClock.
  std::optional<std::int64_t> hardware_ns;

  [[nodiscard]] bool any() const { return software_ns || hardware_ns; }
};

/// From an SCM_TIMESTAMPING control message; nothing of any other.
[[nodiscard]] PacketStamps stamps_of(const cmsghdr& control);

/// What to ask of SO_TIMESTAMPING. Nothing here switches a card's timestamps on: that is a setting of the whole device.
struct StampRequest {
  bool transmit = true;
  bool hardware_receive = false;
  bool hardware_transmit = false;

  [[nodiscard]] unsigned receive_flags() const;
  /// Those for both directions.
  [[nodiscard]] unsigned all_flags() const;
};

}  // namespace stallscope::probe
