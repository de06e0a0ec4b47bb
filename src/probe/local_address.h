// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace stallscope::probe {

/// An interface of this kernel that has the address.
struct LocalAddress {
  std::uint64_t netns_inode = 0;
  /// As `ip netns` names it; empty for a namespace without a name.
  std::string netns_name;
  /// A path by which NetworkNamespace::open finds the namespace while it, or the process in the path, lives.
  std::string netns_path;
  /// Whether it is the caller's namespace.
  bool own_netns = false;
  std::string interface;
};

struct LocalAddressSearch {
  /// All of them: the same address may be configured in several namespaces, and which one a packet reaches is up to routing. The
  /// caller's namespace comes first.
  std::vector<LocalAddress> matches;
  std::uint64_t namespaces_searched = 0;
  /// What could not be looked at and why ("/run/netns/pod: Operation not permitted"). When it is not empty, no match means
  /// "unknown", not "elsewhere".
  std::vector<std::string> not_searched;
};

/// Looks for an IPv4 address on the interfaces of every network namespace of this kernel that can be found: the caller's, those in
/// /run/netns and those of all processes. Other namespaces than the caller's need CAP_SYS_ADMIN. Addresses that are local by a
/// route only (`ip route add local`) are not found. A loopback address is looked for in the caller's namespace alone, which it
/// never leaves.
[[nodiscard]] base::Result<LocalAddressSearch> find_local_address(in_addr address);

}  // namespace stallscope::probe
