// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/owned_fd.h"
#include "base/result.h"

namespace stallscope::lab::bh_off_section {

/// What the culprit sends by, in a network namespace of its process's own that goes with it.
struct Sender {
  /// Connected, of UDP: each send(2) puts a packet with the mark onto the device.
  base::OwnedFd socket;
  int interface_index = 0;
};

/// Moves the calling process into a new network namespace with one veth device in it, which nobody receives from. Needs
/// iproute2.
[[nodiscard]] base::Result<Sender> make_sender(std::uint32_t mark);

}  // namespace stallscope::lab::bh_off_section
