// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>

#include <string>

#include "base/result.h"

namespace stallscope::probe {

/// The IPv4 address of a host name or of an address written out. A name is looked up with getaddrinfo(3) in the caller's network
/// namespace, which can block for seconds; an address is not looked up. Of several addresses the first is taken, in the order
/// the resolver prefers. Refused: names with IPv6 addresses only, 0.0.0.0/8, multicast and the limited broadcast address. (The
/// broadcast address of a subnet is known to routing alone; IcmpProber::open refuses it.)
[[nodiscard]] base::Result<in_addr> resolve_target(const std::string& host);

/// "10.0.1.2"
[[nodiscard]] std::string format_address(in_addr address);

}  // namespace stallscope::probe
