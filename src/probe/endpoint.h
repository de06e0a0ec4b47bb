// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace stallscope::probe {

/// An address of either family, with a port where there is one. Comparable, unlike the system's.
struct Endpoint {
  /// AF_INET, AF_INET6, or AF_UNSPEC for none.
  int family = AF_UNSPEC;
  /// In network order; of an IPv4 address the first four.
  std::array<std::byte, 16> address{};
  /// Of a link-local IPv6 address: the interface.
  std::uint32_t scope_id = 0;
  /// In host order.
  std::uint16_t port = 0;

  /// The bytes of the address that count: 4, 16 or none.
  [[nodiscard]] std::span<const std::byte> bytes() const;
  [[nodiscard]] bool same_address(const Endpoint& other) const { return family == other.family && address == other.address; }
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

/// Room for an address of either family, as system calls take it.
union SocketAddress {
  sockaddr any;
  sockaddr_in ipv4;
  sockaddr_in6 ipv6;
};

/// Fills `to` and returns its length. A raw IPv6 socket refuses any port but 0: set `with_port` to false for it.
socklen_t to_socket_address(const Endpoint& endpoint, SocketAddress& to, bool with_port = true);
[[nodiscard]] Endpoint endpoint_of(const SocketAddress& address);
[[nodiscard]] Endpoint endpoint_of(in_addr address);

/// "10.0.1.2", "fd00::2", "fe80::1%3"
[[nodiscard]] std::string address_text(const Endpoint& endpoint);
/// "10.0.1.2:443", "[fd00::2]:443"; without a port as address_text.
[[nodiscard]] std::string endpoint_text(const Endpoint& endpoint);

}  // namespace stallscope::probe
