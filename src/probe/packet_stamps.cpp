// SPDX-License-Identifier: Apache-2.0
#include "probe/packet_stamps.h"

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <ctime>

#include "base/units.h"

namespace stallscope::probe {
namespace {

/// Where scm_timestamping has them; the one between is no longer used (Documentation/networking/timestamping.rst, 6.1).
constexpr std::size_t software_index = 0;
constexpr std::size_t hardware_index = 2;

std::optional<std::int64_t> time_of(const timespec& stamp) {
  if (stamp.tv_sec == 0 && stamp.tv_nsec == 0) {
    return std::nullopt;
  }
  return (static_cast<std::int64_t>(stamp.tv_sec) * base::ns_per_s) + stamp.tv_nsec;
}

}  // namespace

PacketStamps stamps_of(const cmsghdr& control) {
  std::array<timespec, 3> stamps{};
  static_assert(sizeof stamps == sizeof(scm_timestamping));
  if (control.cmsg_level != SOL_SOCKET || control.cmsg_type != SCM_TIMESTAMPING || control.cmsg_len < CMSG_LEN(sizeof stamps)) {
    return {};
  }
  std::memcpy(stamps.data(), CMSG_DATA(&control), sizeof stamps);
  return {.software_ns = time_of(stamps.at(software_index)), .hardware_ns = time_of(stamps.at(hardware_index))};
}

unsigned StampRequest::receive_flags() const {
  unsigned flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
  if (hardware_receive) {
    flags |= SOF_TIMESTAMPING_RX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE;
  }
  return flags;
}

unsigned StampRequest::all_flags() const {
  unsigned flags = receive_flags();
  if (transmit) {
    // OPT_TSONLY: the error queue is charged to the receive buffer, so packets are not to come back whole.
    flags |= SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_TSONLY;
    if (hardware_transmit) {
      // OPT_TX_SWHW: else a packet that the card stamps gets no software timestamp (4.13, commit b50a5c70ffa4).
      flags |= SOF_TIMESTAMPING_TX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE | SOF_TIMESTAMPING_OPT_TX_SWHW;
    }
  }
  return flags;
}

}  // namespace stallscope::probe
