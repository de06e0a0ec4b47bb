// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <vector>

#include "probe/source_ports.h"

// Classic BPF programs that keep other traffic from a raw socket, which the kernel gives a copy of every packet of its protocol. On
// IPv4 a filter sees the packet from the IP header on, on IPv6 from the payload on.
namespace stallscope::probe {

using FilterProgram = std::vector<sock_filter>;

/// Echo replies with this identifier.
[[nodiscard]] FilterProgram echo_reply_filter(std::uint16_t identifier, bool ipv6);
/// SYN-ACKs and resets to one of these ports.
[[nodiscard]] FilterProgram tcp_answer_filter(PortRange ports, bool ipv6);

}  // namespace stallscope::probe
