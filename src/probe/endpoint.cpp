// SPDX-License-Identifier: Apache-2.0
#include "probe/endpoint.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <cstring>

namespace stallscope::probe {

std::span<const std::byte> Endpoint::bytes() const {
  constexpr std::size_t ipv4_bytes = 4;
  const std::size_t size = family == AF_INET ? ipv4_bytes : family == AF_INET6 ? address.size() : 0;
  return std::span(address).first(size);
}

socklen_t to_socket_address(const Endpoint& endpoint, SocketAddress& to, bool with_port) {
  to = {};
  const std::uint16_t port = with_port ? htons(endpoint.port) : std::uint16_t{0};
  if (endpoint.family == AF_INET6) {
    to.ipv6 = {};
    to.ipv6.sin6_family = AF_INET6;
    to.ipv6.sin6_port = port;
    to.ipv6.sin6_scope_id = endpoint.scope_id;
    std::memcpy(&to.ipv6.sin6_addr, endpoint.address.data(), sizeof to.ipv6.sin6_addr);
    return sizeof to.ipv6;
  }
  to.ipv4 = {};
  to.ipv4.sin_family = AF_INET;
  to.ipv4.sin_port = port;
  std::memcpy(&to.ipv4.sin_addr, endpoint.address.data(), sizeof to.ipv4.sin_addr);
  return sizeof to.ipv4;
}

Endpoint endpoint_of(const SocketAddress& address) {
  Endpoint endpoint;
  endpoint.family = address.any.sa_family;
  if (endpoint.family == AF_INET) {
    std::memcpy(endpoint.address.data(), &address.ipv4.sin_addr, sizeof address.ipv4.sin_addr);
    endpoint.port = ntohs(address.ipv4.sin_port);
  } else if (endpoint.family == AF_INET6) {
    std::memcpy(endpoint.address.data(), &address.ipv6.sin6_addr, sizeof address.ipv6.sin6_addr);
    endpoint.port = ntohs(address.ipv6.sin6_port);
    endpoint.scope_id = address.ipv6.sin6_scope_id;
  } else {
    endpoint.family = AF_UNSPEC;
  }
  return endpoint;
}

Endpoint endpoint_of(in_addr address) {
  Endpoint endpoint;
  endpoint.family = AF_INET;
  std::memcpy(endpoint.address.data(), &address, sizeof address);
  return endpoint;
}

std::string address_text(const Endpoint& endpoint) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (endpoint.family == AF_UNSPEC ||
      inet_ntop(endpoint.family, endpoint.address.data(), text.data(), static_cast<socklen_t>(text.size())) == nullptr) {
    return {};
  }
  return endpoint.scope_id == 0 ? text.data() : fmt::format("{}%{}", text.data(), endpoint.scope_id);
}

std::string endpoint_text(const Endpoint& endpoint) {
  if (endpoint.port == 0) {
    return address_text(endpoint);
  }
  return endpoint.family == AF_INET6 ? fmt::format("[{}]:{}", address_text(endpoint), endpoint.port)
                                     : fmt::format("{}:{}", address_text(endpoint), endpoint.port);
}

}  // namespace stallscope::probe
