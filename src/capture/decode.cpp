// SPDX-License-Identifier: Apache-2.0
#include "capture/decode.h"

#include <algorithm>
#include <bit>

namespace stallscope::capture {
namespace {

// EtherTypes (IEEE 802 numbers, IANA).
constexpr std::uint16_t ether_ipv4 = 0x0800;
constexpr std::uint16_t ether_ipv6 = 0x86dd;
constexpr std::uint16_t ether_vlan = 0x8100;
constexpr std::uint16_t ether_service_vlan = 0x88a8;
constexpr std::uint16_t ether_old_qinq = 0x9100;
constexpr std::uint16_t ether_bridged = 0x6558;

constexpr std::uint16_t vxlan_port = 4789;  // RFC 7348
constexpr std::uint16_t vxlan_linux_port = 8472;
constexpr std::uint16_t geneve_port = 6081;  // RFC 8926

/// Goes through one packet from the outside in. Each step takes bytes off the front and says what follows, or gives up. In a loop,
/// not one step within the other: so the compiler makes one function of it, in which the rest of the packet stays in registers.
class Walk {
 public:
  Walk(Bytes bytes, Decoded& out) : rest_(bytes), out_(out) {}

  void run(std::uint32_t link) {
    Step step = link_layer(link);
    while (step != Step::none) {
      switch (step) {
        case Step::none:
          break;
        case Step::ethernet:
          step = ethernet();
          break;
        case Step::payload:
          step = payload();
          break;
        case Step::raw_ip:
          step = raw_ip();
          break;
        case Step::ipv4:
          step = ipv4();
          break;
        case Step::ipv6:
          step = ipv6();
          break;
        case Step::upper:
          step = upper();
          break;
      }
    }
    leave_tunnel();
  }

  /// Most packets: Ethernet without VLANs, IPv4 without options, not a fragment, TCP or ICMP. A shortcut past the steps, with the
  /// same result. False: nothing was done.
  bool run_usual(std::uint32_t link) {
    constexpr std::size_t ethernet_bytes = 14;
    constexpr std::size_t ipv4_bytes = 20;
    if (link != link_type::ethernet || rest_.size() < ethernet_bytes + ipv4_bytes) {
      return false;
    }
    const std::uint8_t* const ip = rest_.data() + ethernet_bytes;
    const std::size_t total = load_be<std::uint16_t>(ip + 2);
    const bool usual = be16(12) == ether_ipv4 && ip[0] == 0x45 && (load_be<std::uint16_t>(ip + 6) & 0x3fffU) == 0 &&
                       total >= ipv4_bytes && (ip[9] == protocol::tcp || ip[9] == protocol::icmp);
    if (!usual) {
      return false;
    }
    out_.ip_count = 1;
    out_.ip[0] = {ip + 12, ip + 16, false, ip[9], Tunnel::none, ip[8], load_be<std::uint16_t>(ip + 4)};
    wire_size_ = total - ipv4_bytes;
    rest_ = Bytes(ip + ipv4_bytes, std::min(rest_.size() - ethernet_bytes, total) - ipv4_bytes);
    if (ip[9] == protocol::tcp) {
      tcp();
    } else {
      icmp(8, 0);
    }
    return true;
  }

 private:
  enum class Step : std::uint8_t { none, ethernet, payload, raw_ip, ipv4, ipv6, upper };

  Step link_layer(std::uint32_t link) {
    switch (link) {
      case link_type::ethernet:
        return Step::ethernet;
      case link_type::linux_cooked:
        // 16 bytes, the protocol in the last two (LINKTYPE_LINUX_SLL).
        return cooked(16, 14);
      case link_type::linux_cooked_2:
        // 20 bytes, the protocol in the first two (LINKTYPE_LINUX_SLL2).
        return cooked(20, 0);
      case link_type::null_loopback:
      case link_type::loop:
        // An address family in the order of some host; the IP version says what is needed of it.
        if (!need(4)) {
          return Step::none;
        }
        take(4);
        return Step::raw_ip;
      case link_type::dlt_raw:
      case link_type::dlt_raw_openbsd:
      case link_type::raw_ip:
      case link_type::ipv4:
      case link_type::ipv6:
        return Step::raw_ip;
      default:
        return Step::none;
    }
  }

  [[nodiscard]] bool need(std::size_t size) {
    if (rest_.size() >= size) {
      return true;
    }
    out_.truncated = true;
    return false;
  }
  void take(std::size_t size) { rest_ = rest_.subspan(size); }
  [[nodiscard]] std::uint8_t byte(std::size_t at) const { return rest_[at]; }
  [[nodiscard]] std::uint16_t be16(std::size_t at) const { return load_be<std::uint16_t>(rest_.data() + at); }
  [[nodiscard]] std::uint32_t be32(std::size_t at) const { return load_be<std::uint32_t>(rest_.data() + at); }

  Step ethernet() {
    if (!need(14)) {
      return Step::none;
    }
    type_ = be16(12);
    take(14);
    return Step::payload;
  }

  Step cooked(std::size_t size, std::size_t type_at) {
    if (!need(size)) {
      return Step::none;
    }
    type_ = be16(type_at);
    take(size);
    return Step::payload;
  }

  Step payload() {
    for (std::size_t tags = 0; tags < most_skipped_headers; ++tags) {
      if (type_ != ether_vlan && type_ != ether_service_vlan && type_ != ether_old_qinq) {
        break;
      }
      if (!need(4)) {
        return Step::none;
      }
      type_ = be16(2);
      take(4);
    }
    if (type_ == ether_ipv4) {
      return Step::ipv4;
    }
    if (type_ == ether_ipv6) {
      return Step::ipv6;
    }
    return type_ == ether_bridged && inside_ != Tunnel::none ? Step::ethernet : Step::none;
  }

  Step raw_ip() {
    if (!need(1)) {
      return Step::none;
    }
    const unsigned version = byte(0) >> 4U;
    return version == 4 ? Step::ipv4 : version == 6 ? Step::ipv6 : Step::none;
  }

  Step ipv4() {
    if (out_.ip_count == most_ip_headers || !need(20)) {
      return Step::none;
    }
    const std::size_t header_size = std::size_t{4} * (byte(0) & 0x0fU);
    const std::size_t total = be16(2);
    const std::uint16_t fragment = be16(6);
    // A total of 0 is what segmentation offload leaves of a packet longer than 64 KiB.
    if ((byte(0) >> 4U) != 4 || header_size < 20 || (total != 0 && total < header_size)) {
      return Step::none;
    }
    IpHeader& ip = out_.ip[out_.ip_count++];
    ip = {rest_.data() + 12, rest_.data() + 16, false, byte(9), inside_, byte(8), be16(4)};
    if (!need(header_size)) {
      return Step::none;
    }
    wire_size_ = total == 0 ? rest_.size() : total;
    cut_padding(wire_size_);
    wire_size_ -= header_size;
    take(header_size);
    out_.fragment = out_.fragment || (fragment & 0x3fffU) != 0;
    return (fragment & 0x1fffU) == 0 ? Step::upper : Step::none;
  }

  Step ipv6() {
    if (out_.ip_count == most_ip_headers || !need(40) || (byte(0) >> 4U) != 6) {
      return Step::none;
    }
    wire_size_ = be16(4);
    IpHeader& ip = out_.ip[out_.ip_count++];
    ip = {rest_.data() + 8, rest_.data() + 24, true, byte(6), inside_, byte(7), 0};
    // As in IPv4, 0 is the length of a packet that was too long for the field.
    wire_size_ = wire_size_ == 0 ? rest_.size() - 40 : wire_size_;
    cut_padding(wire_size_ + 40);
    take(40);
    for (std::size_t headers = 0; headers < most_skipped_headers; ++headers) {
      std::size_t size = 0;
      switch (ip.protocol) {
        case 0:    // hop-by-hop options (RFC 8200)
        case 43:   // routing
        case 60:   // destination options
        case 135:  // mobility
          if (!need(8)) {
            return Step::none;
          }
          size = (std::size_t{byte(1)} + 1) * 8;
          break;
        case 51:  // authentication (RFC 4302): counted in 4 bytes, less 2
          if (!need(8)) {
            return Step::none;
          }
          size = (std::size_t{byte(1)} + 2) * 4;
          break;
        case 44: {  // fragment
          if (!need(8)) {
            return Step::none;
          }
          size = 8;
          ip.id = be32(4);
          const std::uint16_t offset = be16(2);
          out_.fragment = out_.fragment || (offset & 0xfff9U) != 0;
          if ((offset & 0xfff8U) != 0) {
            return Step::none;
          }
          break;
        }
        default:
          return Step::upper;
      }
      if (size > wire_size_ || !need(size)) {
        return Step::none;
      }
      ip.protocol = byte(0);
      wire_size_ -= size;
      take(size);
    }
    return Step::none;
  }

  void cut_padding(std::size_t size) { rest_ = rest_.first(std::min(rest_.size(), size)); }

  Step upper() {
    switch (out_.inner().protocol) {
      case protocol::tcp:
        tcp();
        return Step::none;
      case protocol::udp:
        return udp();
      case protocol::icmp:
        icmp(8, 0);
        return Step::none;
      case protocol::icmp6:
        icmp(128, 129);
        return Step::none;
      case protocol::ipv4:
        inside_ = Tunnel::ip_in_ip;
        return Step::ipv4;
      case protocol::ipv6:
        inside_ = Tunnel::ip_in_ip;
        return Step::ipv6;
      case protocol::gre:
        return gre();
      default:
        return Step::none;
    }
  }

  void tcp() {
    if (!need(20)) {
      return;
    }
    const std::size_t header_size = std::size_t{4} * (byte(12) >> 4U);
    if (header_size < 20 || header_size > wire_size_) {
      return;
    }
    out_.transport = Transport::tcp;
    out_.source_port = be16(0);
    out_.destination_port = be16(2);
    out_.tcp_sequence = be32(4);
    out_.tcp_acknowledgement = be32(8);
    out_.tcp_flags = byte(13);
    out_.tcp_payload_bytes = static_cast<std::uint32_t>(wire_size_ - header_size);
    if (need(header_size)) {
      tcp_options(rest_.subspan(20, header_size - 20));
    }
  }

  void tcp_options(Bytes options) {
    // NOP NOP timestamps: what Linux sends in established connections (RFC 7323, appendix A).
    constexpr std::uint32_t usual = 0x0101080a;
    std::size_t at = 0;
    if (options.size() >= 12 && load_be<std::uint32_t>(options.data()) == usual) {
      return take_timestamps(options.data() + 4);
    }
    while (at + 1 < options.size()) {
      const std::uint8_t kind = options[at];
      if (kind == 1) {
        ++at;
        continue;
      }
      const std::size_t size = options[at + 1];
      if (kind == 0 || size < 2 || at + size > options.size()) {
        return;
      }
      if (kind == 8 && size == 10) {
        return take_timestamps(options.data() + at + 2);
      }
      at += size;
    }
  }

  void take_timestamps(const std::uint8_t* at) {
    out_.has_timestamps = true;
    out_.timestamp_value = load_be<std::uint32_t>(at);
    out_.timestamp_echo = load_be<std::uint32_t>(at + 4);
  }

  Step udp() {
    if (!need(8)) {
      return Step::none;
    }
    out_.transport = Transport::udp;
    out_.source_port = be16(0);
    out_.destination_port = be16(2);
    const std::uint16_t port = out_.destination_port;
    if (port == vxlan_port || port == vxlan_linux_port) {
      // The I flag must be set (RFC 7348, section 5); without it this is something else.
      if (rest_.size() >= 16 && (byte(8) & 0x08U) != 0) {
        enter_tunnel(Tunnel::vxlan, 16);
        return Step::ethernet;
      }
    } else if (port == geneve_port && rest_.size() >= 16 && (byte(8) >> 6U) == 0) {
      const std::size_t size = 8 + 8 + (std::size_t{4} * (byte(8) & 0x3fU));
      if (rest_.size() >= size) {
        type_ = be16(10);
        enter_tunnel(Tunnel::geneve, size);
        return Step::payload;
      }
    }
    return Step::none;
  }

  Step gre() {
    if (!need(4)) {
      return Step::none;
    }
    const std::uint16_t flags = be16(0);
    type_ = be16(2);
    // Version 0 (RFC 2784, RFC 2890): checksum, key and sequence number are there as their flags say. Routing is obsolete.
    if ((flags & 0x4007U) != 0) {
      return Step::none;
    }
    const std::size_t size =
        4U + ((flags & 0x8000U) != 0 ? 4U : 0U) + ((flags & 0x2000U) != 0 ? 4U : 0U) + ((flags & 0x1000U) != 0 ? 4U : 0U);
    if (!need(size)) {
      return Step::none;
    }
    take(size);
    inside_ = Tunnel::gre;
    return Step::payload;
  }

  void enter_tunnel(Tunnel tunnel, std::size_t header_size) {
    take(header_size);
    inside_ = tunnel;
    out_.transport = Transport::none;
    tunnel_at_ = out_.ip_count;
  }

  /// What a UDP port suggests is a tunnel only if IP comes of it.
  void leave_tunnel() {
    if (tunnel_at_ > 0 && tunnel_at_ == out_.ip_count) {
      out_.transport = Transport::udp;
    }
  }

  void icmp(std::uint8_t request, std::uint8_t reply) {
    if (!need(8)) {
      return;
    }
    const std::uint8_t type = byte(0);
    out_.transport = type == request ? Transport::icmp_echo_request
                     : type == reply ? Transport::icmp_echo_reply
                                     : Transport::icmp_other;
    out_.source_port = 0;
    out_.destination_port = 0;
    out_.echo_id = be16(4);
    out_.echo_sequence = be16(6);
    out_.echo_mark = type == request ? echo_mark() : 0;
  }

  /// Ping programs put the time of sending or a random number there. Checksum and identifier, which NAT changes, stand before.
  [[nodiscard]] std::uint32_t echo_mark() const {
    constexpr std::size_t header_bytes = 8;
    constexpr std::size_t looked_at_bytes = 16;
    if (rest_.size() < header_bytes + looked_at_bytes) {
      return 0;
    }
    // Multiplication by odd numbers carries low bits up, the shift brings high ones down; nobody is to be kept from choosing marks.
    constexpr std::uint64_t odd_1 = 0x9e3779b97f4a7c15;
    constexpr std::uint64_t odd_2 = 0xd6e8feb86659fd93;
    std::uint64_t mark = (std::uint64_t{wire_size_} << 32U) | out_.inner().id;
    for (const std::size_t at : {header_bytes, header_bytes + sizeof(std::uint64_t)}) {
      mark = (mark ^ load<std::uint64_t>(rest_.data() + at)) * odd_1;
      mark ^= mark >> 32U;
    }
    mark *= odd_2;
    return std::max(static_cast<std::uint32_t>(mark >> 32U), std::uint32_t{1});
  }

  Bytes rest_;
  Decoded& out_;
  /// What the present payload is wrapped in.
  Tunnel inside_ = Tunnel::none;
  /// EtherType of the payload.
  std::uint16_t type_ = 0;
  /// Of what follows the present header, as that says.
  std::size_t wire_size_ = 0;
  /// The number of IP headers around the last thing that looked like a tunnel over UDP; 0: there was none.
  std::size_t tunnel_at_ = 0;
};

/// Apart, so that the usual ones need not save what this one needs registers for.
[[gnu::noinline]] void decode_step_by_step(Bytes packet, std::uint32_t link, Decoded& decoded) {
  Walk(packet, decoded).run(link);
}

}  // namespace

void decode(Bytes packet, std::uint32_t link, Decoded& decoded) {
  decoded.ip_count = 0;
  decoded.transport = Transport::none;
  decoded.truncated = false;
  decoded.fragment = false;
  decoded.tcp_flags = 0;
  decoded.has_timestamps = false;
  decoded.source_port = 0;
  decoded.destination_port = 0;
  decoded.timestamp_value = 0;
  decoded.timestamp_echo = 0;
  if (!Walk(packet, decoded).run_usual(link)) {
    decode_step_by_step(packet, link, decoded);
  }
}

}  // namespace stallscope::capture
