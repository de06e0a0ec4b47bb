// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"

namespace stallscope::lab {

/// What carries packets between node and pod.
enum class Overlay : std::uint8_t { vxlan, ipip };
/// "vxlan", "ipip".
[[nodiscard]] std::string_view overlay_id(Overlay overlay);
[[nodiscard]] std::optional<Overlay> overlay_from_id(std::string_view id);

inline constexpr std::string_view pod_address = "10.9.0.2";
inline constexpr std::uint16_t pod_port = 8080;
inline constexpr std::uint16_t node_port = 30'080;

/// Adds to the topology what a node of Kubernetes has: a network of pods that a tunnel carries, and a NodePort.
///
///   node: 10.9.0.1 on the tunnel's device; TCP to 10.0.1.2:30080 goes to 10.9.0.2:8080, as from 10.9.0.1
///   pod:  10.9.0.2 on the tunnel's device; nobody serves port 8080 yet
///
/// The tunnel's device is tun0, a VXLAN (id 9, UDP port 4789) or, for IPIP, which needs no module that way, one end of a veth pair
/// whose packets BPF programs wrap. All of it goes with the namespaces. Needs iproute2 and iptables.
[[nodiscard]] base::Status add_pod_network(Overlay overlay);

}  // namespace stallscope::lab
