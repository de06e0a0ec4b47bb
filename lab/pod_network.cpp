// SPDX-License-Identifier: Apache-2.0
#include "lab/pod_network.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ipip_tunnel.skel.h>
#include <net/if.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>

#include "lab/bpf_programs.h"
#include "lab/run_words.h"
#include "lab/topology.h"

namespace stallscope::lab {
namespace {

using base::Status;

constexpr std::array<std::string_view, 2> overlay_ids = {"vxlan", "ipip"};
constexpr std::string_view tunnel_device = "tun0";
/// Ethernet's 1,500 bytes less an IPv4 header.
constexpr int ipip_mtu = 1'480;

/// One end of the tunnel. `device` carries it, between `local` and `remote`; `address` is what it is reached by inside.
struct End {
  std::string_view netns;
  std::string_view device;
  const char* local;
  const char* remote;
  std::string_view address;
};
constexpr std::array<End, 2> ends = {
    {{node_netns, "n1", "10.0.2.1", "10.0.2.2", "10.9.0.1"}, {pod_netns, "p0", "10.0.2.2", "10.0.2.1", pod_address}}};

Status add_vxlan(const End& end) {
  return run_words(fmt::format("ip link add {} type vxlan id 9 dstport 4789 local {} remote {} dev {}", tunnel_device, end.local,
                               end.remote, end.device));
}

/// In the end's namespace.
Status attach_ipip(const End& end) {
  const ProgramUser user{"make", "the IPIP tunnel of the lab"};
  const std::unique_ptr<ipip_tunnel_bpf, void (*)(ipip_tunnel_bpf*)> programs(ipip_tunnel_bpf::open(), &ipip_tunnel_bpf::destroy);
  if (!programs) {
    return program_error(user, "open", errno);
  }
  const unsigned carrier = ::if_nametoindex(std::string(end.device).c_str());
  programs->rodata->local_address = ::inet_addr(end.local);
  programs->rodata->remote_address = ::inet_addr(end.remote);
  programs->rodata->carrier_ifindex = carrier;
  if (const int error = ipip_tunnel_bpf::load(programs.get()); error != 0) {
    return program_error(user, "load", -error);
  }
  // They stay with the devices when this process ends.
  if (Status wraps = attach_tc_program(user, bpf_program__fd(programs->progs.lab_ipip_wrap),
                                       static_cast<int>(::if_nametoindex(std::string(tunnel_device).c_str())), BPF_TC_EGRESS);
      !wraps) {
    return wraps;
  }
  return attach_tc_program(user, bpf_program__fd(programs->progs.lab_ipip_unwrap), static_cast<int>(carrier), BPF_TC_INGRESS);
}

/// The other end of the pair is only there because a veth has one: every packet is taken on its way out.
Status add_ipip(const End& end) {
  if (Status made = run_all({fmt::format("ip link add {} type veth peer name tun0-unused", tunnel_device),
                             fmt::format("ip link set {} mtu {} arp off", tunnel_device, ipip_mtu), "ip link set tun0-unused up"});
      !made) {
    return made;
  }
  return attach_ipip(end);
}

Status add_end(const End& end, Overlay overlay) {
  if (Status made = overlay == Overlay::vxlan ? add_vxlan(end) : add_ipip(end); !made) {
    return made;
  }
  return run_all(
      {fmt::format("ip address add {}/24 dev {}", end.address, tunnel_device), fmt::format("ip link set {} up", tunnel_device)});
}

Status add_node_port() {
  return run_all(
      {fmt::format("iptables -t nat -A PREROUTING -d {}/32 -p tcp -m tcp --dport {} -j DNAT --to-destination {}:{}", node_address,
                   node_port, pod_address, pod_port),
       fmt::format("iptables -t nat -A POSTROUTING -o {} -p tcp -m tcp --dport {} -j MASQUERADE", tunnel_device, pod_port)});
}

}  // namespace

std::string_view overlay_id(Overlay overlay) {
  return overlay_ids.at(static_cast<std::size_t>(overlay));
}

std::optional<Overlay> overlay_from_id(std::string_view id) {
  for (const Overlay overlay : {Overlay::vxlan, Overlay::ipip}) {
    if (overlay_id(overlay) == id) {
      return overlay;
    }
  }
  return std::nullopt;
}

Status add_pod_network(Overlay overlay) {
  for (const End& end : ends) {
    if (Status made = in_namespace(end.netns, [&] { return add_end(end, overlay); }); !made) {
      return made;
    }
  }
  if (Status routed = in_namespace(pod_netns, [] { return run_words("ip route add 10.0.1.0/24 via 10.9.0.1"); }); !routed) {
    return routed;
  }
  return in_namespace(node_netns, add_node_port);
}

}  // namespace stallscope::lab
