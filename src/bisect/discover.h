// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bisect/path.h"

// From what this node's own tools say, the path to a service. All of it is pure; what cannot be understood is left out.
namespace stallscope::bisect {

struct Destination {
  std::string address;
  std::uint16_t port = 0;

  friend bool operator==(const Destination&, const Destination&) = default;
};

// Where connections to an address and TCP port are sent on to by destination NAT: each destination once. Chains are followed, as
// those of kube-proxy and Docker need.
/// Of `iptables-save -t nat`.
[[nodiscard]] std::vector<Destination> find_dnat_iptables(std::string_view text, const Destination& service);
/// Of `nft -j list ruleset`. Rules that look their destination up in maps are not understood.
[[nodiscard]] std::vector<Destination> find_dnat_nft(const std::string& json_text, const Destination& service);
/// Of /proc/net/nf_conntrack or `conntrack -L`: what connections were sent on to.
[[nodiscard]] std::vector<Destination> find_dnat_conntrack(std::string_view text, const Destination& service);

struct Route {
  std::string device;
  /// Empty: the address is on the link.
  std::string gateway;
};
/// Of `ip -j route get ADDRESS`.
[[nodiscard]] std::optional<Route> parse_route(const std::string& json_text);

struct Tunnel {
  /// "vxlan", "ipip", "geneve", ...
  std::string kind;
  /// The one far end it has; empty: several, or not known.
  std::string remote;
};
/// Of `ip -j -d link show`; nothing: the device is no tunnel.
[[nodiscard]] std::optional<Tunnel> find_tunnel(const std::string& links_json, std::string_view device);
/// Where a VXLAN device sends what goes to `address`: by the neighbour's hardware address (`ip -j neigh show`) and where that is
/// (`bridge -j fdb show`). Empty: not known.
[[nodiscard]] std::string find_vxlan_remote(const std::string& neighbours_json, const std::string& fdb_json,
                                            std::string_view device, std::string_view address);

struct Discovery {
  Destination service;
  /// The connection of a service goes by HTTP.
  bool http = false;
  /// Behind destination NAT; nothing: none was found.
  std::optional<Destination> pod;
  std::optional<Tunnel> tunnel;
  /// At the far end of the tunnel; empty: not known.
  std::string node;
};
/// The rungs for it, outermost first. Without a port only what ICMP tells.
[[nodiscard]] Path make_path(const Discovery& discovery);

}  // namespace stallscope::bisect
