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

/// Goes through one packet from the outside in. Each step takes bytes off the front or gives up.
class Walk {
 public:
  Walk(Bytes bytes, Decoded& out) : rest_(bytes), out_(out) {}

  void link_layer(std::uint32_t link) {
    switch (link) {
      case link_type::ethernet:
        return ethernet(Tunnel::none);
      case link_type::linux_cooked:
        // 16 bytes, the protocol in the last two (LINKTYPE_LINUX_SLL).
        return cooked(16, 14);
      case link_type::linux_cooked_2:
        // 20 bytes, the protocol in the first two (LINKTYPE_LINUX_SLL2).
        return cooked(20, 0);
      case link_type::null_loopback:
      case link_type::loop:
        // An address family in the order of some host; the IP version says what is needed of it.
        if (need(4)) {
          take(4);
          raw_ip(Tunnel::none);
        }
        return;
      case link_type::dlt_raw:
      case link_type::dlt_raw_openbsd:
      case link_type::raw_ip:
      case link_type::ipv4:
      case link_type::ipv6:
        return raw_ip(Tunnel::none);
      default:
        return;
    }
  }

 private:
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

  void ethernet(Tunnel inside) {
    if (need(14)) {
      const std::uint16_t type = be16(12);
      take(14);
      payload(type, inside);
    }
  }

  void cooked(std::size_t size, std::size_t type_at) {
    if (need(size)) {
      const std::uint16_t type = be16(type_at);
      take(size);
      payload(type, Tunnel::none);
    }
  }

  void payload(std::uint16_t type, Tunnel inside) {
    for (std::size_t tags = 0; tags < most_skipped_headers; ++tags) {
      if (type != ether_vlan && type != ether_service_vlan && type != ether_old_qinq) {
        break;
      }
      if (!need(4)) {
        return;
      }
      type = be16(2);
      take(4);
    }
    if (type == ether_ipv4) {
      ipv4(inside);
    } else if (type == ether_ipv6) {
      ipv6(inside);
    } else if (type == ether_bridged && inside != Tunnel::none) {
      ethernet(inside);
    }
  }

  void raw_ip(Tunnel inside) {
    if (!need(1)) {
      return;
    }
    const unsigned version = byte(0) >> 4U;
    if (version == 4) {
      ipv4(inside);
    } else if (version == 6) {
      ipv6(inside);
    }
  }

  void ipv4(Tunnel inside) {
    if (out_.ip_count == most_ip_headers || !need(20)) {
      return;
    }
    const std::size_t header_size = std::size_t{4} * (byte(0) & 0x0fU);
    const std::size_t total = be16(2);
    const std::uint16_t fragment = be16(6);
    // A total of 0 is what segmentation offload leaves of a packet longer than 64 KiB.
    if ((byte(0) >> 4U) != 4 || header_size < 20 || (total != 0 && total < header_size)) {
      return;
    }
    IpHeader& ip = out_.ip[out_.ip_count++];
    ip = {rest_.data() + 12, rest_.data() + 16, false, byte(9), inside, byte(8), be16(4)};
    if (!need(header_size)) {
      return;
    }
    const std::size_t wire_size = total == 0 ? rest_.size() : total;
    cut_padding(wire_size);
    take(header_size);
    out_.fragment = out_.fragment || (fragment & 0x3fffU) != 0;
    if ((fragment & 0x1fffU) == 0) {
      upper(ip.protocol, wire_size - header_size);
    }
  }

  void ipv6(Tunnel inside) {
    if (out_.ip_count == most_ip_headers || !need(40) || (byte(0) >> 4U) != 6) {
      return;
    }
    std::size_t wire_size = be16(4);
    IpHeader& ip = out_.ip[out_.ip_count++];
    ip = {rest_.data() + 8, rest_.data() + 24, true, byte(6), inside, byte(7), 0};
    // As in IPv4, 0 is the length of a packet that was too long for the field.
    wire_size = wire_size == 0 ? rest_.size() - 40 : wire_size;
    cut_padding(wire_size + 40);
    take(40);
    for (std::size_t headers = 0; headers < most_skipped_headers; ++headers) {
      std::size_t size = 0;
      switch (ip.protocol) {
        case 0:    // hop-by-hop options (RFC 8200)
        case 43:   // routing
        case 60:   // destination options
        case 135:  // mobility
          if (!need(8)) {
            return;
          }
          size = (std::size_t{byte(1)} + 1) * 8;
          break;
        case 51:  // authentication (RFC 4302): counted in 4 bytes, less 2
          if (!need(8)) {
            return;
          }
          size = (std::size_t{byte(1)} + 2) * 4;
          break;
        case 44: {  // fragment
          if (!need(8)) {
            return;
          }
          size = 8;
          ip.id = be32(4);
          const std::uint16_t offset = be16(2);
          out_.fragment = out_.fragment || (offset & 0xfff9U) != 0;
          if ((offset & 0xfff8U) != 0) {
            return;
          }
          break;
        }
        default:
          return upper(ip.protocol, wire_size);
      }
      if (size > wire_size || !need(size)) {
        return;
      }
      ip.protocol = byte(0);
      wire_size -= size;
      take(size);
    }
  }

  void cut_padding(std::size_t size) { rest_ = rest_.first(std::min(rest_.size(), size)); }

  void upper(std::uint8_t number, std::size_t wire_size) {
    switch (number) {
      case protocol::tcp:
        return tcp(wire_size);
      case protocol::udp:
        return udp();
      case protocol::icmp:
        return icmp(8, 0, wire_size);
      case protocol::icmp6:
        return icmp(128, 129, wire_size);
      case protocol::ipv4:
        return ipv4(Tunnel::ip_in_ip);
      case protocol::ipv6:
        return ipv6(Tunnel::ip_in_ip);
      case protocol::gre:
        return gre();
      default:
        return;
    }
  }

  void tcp(std::size_t wire_size) {
    if (!need(20)) {
      return;
    }
    const std::size_t header_size = std::size_t{4} * (byte(12) >> 4U);
    if (header_size < 20 || header_size > wire_size) {
      return;
    }
    out_.transport = Transport::tcp;
    out_.source_port = be16(0);
    out_.destination_port = be16(2);
    out_.tcp_sequence = be32(4);
    out_.tcp_acknowledgement = be32(8);
    out_.tcp_flags = byte(13);
    out_.tcp_payload_bytes = static_cast<std::uint32_t>(wire_size - header_size);
    if (need(header_size)) {
      tcp_options(rest_.subspan(20, header_size - 20));
    }
  }

  void tcp_options(Bytes options) {
    // NOP NOP timestamps: what Linux sends in established connections (RFC 7323, appendix A).
    constexpr std::uint32_t usual = 0x0101080a;
    std::size_t at = 0;
    if (options.size() >= 12 && load_be<std::uint32_t>(options.data()) == usual) {
      at = 2;
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
        out_.has_timestamps = true;
        out_.timestamp_value = load_be<std::uint32_t>(options.data() + at + 2);
        out_.timestamp_echo = load_be<std::uint32_t>(options.data() + at + 6);
        return;
      }
      at += size;
    }
  }

  void udp() {
    if (!need(8)) {
      return;
    }
    out_.transport = Transport::udp;
    out_.source_port = be16(0);
    out_.destination_port = be16(2);
    const std::uint16_t port = out_.destination_port;
    if (port == vxlan_port || port == vxlan_linux_port) {
      // The I flag must be set (RFC 7348, section 5); without it this is something else.
      if (rest_.size() >= 16 && (byte(8) & 0x08U) != 0) {
        take(16);
        enter([this] { ethernet(Tunnel::vxlan); });
      }
    } else if (port == geneve_port && rest_.size() >= 16 && (byte(8) >> 6U) == 0) {
      const std::size_t size = 8 + 8 + (std::size_t{4} * (byte(8) & 0x3fU));
      const std::uint16_t type = be16(10);
      if (rest_.size() >= size) {
        take(size);
        enter([this, type] { payload(type, Tunnel::geneve); });
      }
    }
  }

  void gre() {
    if (!need(4)) {
      return;
    }
    const std::uint16_t flags = be16(0);
    const std::uint16_t type = be16(2);
    // Version 0 (RFC 2784, RFC 2890): checksum, key and sequence number are there as their flags say. Routing is obsolete.
    if ((flags & 0x4007U) != 0) {
      return;
    }
    const std::size_t size =
        4U + ((flags & 0x8000U) != 0 ? 4U : 0U) + ((flags & 0x2000U) != 0 ? 4U : 0U) + ((flags & 0x1000U) != 0 ? 4U : 0U);
    if (need(size)) {
      take(size);
      payload(type, Tunnel::gre);
    }
  }

  /// What a UDP port suggests is a tunnel only if IP comes of it.
  template <typename Step>
  void enter(Step step) {
    const std::size_t before = out_.ip_count;
    const std::uint16_t source = out_.source_port;
    const std::uint16_t destination = out_.destination_port;
    out_.transport = Transport::none;
    step();
    if (out_.ip_count == before) {
      out_.transport = Transport::udp;
      out_.source_port = source;
      out_.destination_port = destination;
    }
  }

  void icmp(std::uint8_t request, std::uint8_t reply, std::size_t wire_size) {
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
    out_.echo_mark = type == request ? echo_mark(wire_size) : 0;
  }

  /// Ping programs put the time of sending or a random number there. Checksum and identifier, which NAT changes, stand before.
  [[nodiscard]] std::uint32_t echo_mark(std::size_t wire_size) const {
    constexpr std::size_t header_bytes = 8;
    constexpr std::size_t looked_at_bytes = 16;
    if (rest_.size() < header_bytes + looked_at_bytes) {
      return 0;
    }
    // Multiplication by odd numbers carries low bits up, the shift brings high ones down; nobody is to be kept from choosing marks.
    constexpr std::uint64_t odd_1 = 0x9e3779b97f4a7c15;
    constexpr std::uint64_t odd_2 = 0xd6e8feb86659fd93;
    std::uint64_t mark = (std::uint64_t{wire_size} << 32U) | out_.inner().id;
    for (const std::size_t at : {header_bytes, header_bytes + sizeof(std::uint64_t)}) {
      mark = (mark ^ load<std::uint64_t>(rest_.data() + at)) * odd_1;
      mark ^= mark >> 32U;
    }
    mark *= odd_2;
    return std::max(static_cast<std::uint32_t>(mark >> 32U), std::uint32_t{1});
  }

  Bytes rest_;
  Decoded& out_;
};

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
  Walk(packet, decoded).link_layer(link);
}

}  // namespace stallscope::capture
