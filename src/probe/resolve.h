// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>

#include <string>

#include "base/result.h"
#include "probe/endpoint.h"

namespace stallscope::probe {

/// The IPv4 address of a host name or of an address written out. A name is looked up with getaddrinfo(3) in the caller's network
/// namespace, which can block for seconds; an address is not looked up. Of several addresses the first is taken, in the order
/// the resolver prefers. Refused: names with IPv6 addresses only, 0.0.0.0/8, multicast and the limited broadcast address. (The
/// broadcast address of a subnet is known to routing alone; Prober::open refuses it.)
[[nodiscard]] base::Result<in_addr> resolve_target(const std::string& host);

/// As resolve_target, of either family: an IPv6 address ("fd00::2", "fe80::1%eth0") or a name that has one is accepted too.
/// `family`: AF_INET or AF_INET6 to accept only that. The port of the result is 0.
[[nodiscard]] base::Result<Endpoint> resolve_endpoint(const std::string& host, int family = AF_UNSPEC);

/// "10.0.1.2"
[[nodiscard]] std::string format_address(in_addr address);

}  // namespace stallscope::probe
