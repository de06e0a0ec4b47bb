// SPDX-License-Identifier: Apache-2.0
#include "probe/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

namespace stallscope::probe {
namespace {

constexpr const char* use_ipv4_hint = "Give an IPv4 address such as 10.0.1.2, or a host name that has one.";

std::optional<base::Error> why_not_probed(const std::string& host, in_addr address) {
  const auto refuse = [&](std::string reason) {
    return base::Error{"probe", host, std::move(reason), "Give the address of one host."};
  };
  const std::uint32_t value = ntohl(address.s_addr);
  if (IN_MULTICAST(value)) {
    return refuse("a multicast address, which many hosts would answer");
  }
  if (value == INADDR_BROADCAST) {
    return refuse("the broadcast address, which many hosts would answer");
  }
  if ((value >> IN_CLASSA_NSHIFT) == 0) {
    return refuse("not the address of a host (0.0.0.0/8)");
  }
  return std::nullopt;
}

base::Result<in_addr> checked(const std::string& host, in_addr address) {
  if (std::optional<base::Error> refusal = why_not_probed(host, address)) {
    return *std::move(refusal);
  }
  return address;
}

base::Error lookup_error(const std::string& host, int status, int errno_value) {
  if (status == EAI_SYSTEM) {
    return base::errno_error("resolve", host, errno_value);
  }
  if (status == EAI_AGAIN) {
    return {"resolve", host, "the name server did not answer", "Give an IPv4 address, or check /etc/resolv.conf."};
  }
  if (status == EAI_NONAME || status == EAI_NODATA) {
    return {"resolve", host, "unknown host", use_ipv4_hint};
  }
  return {"resolve", host, gai_strerror(status), use_ipv4_hint};
}

std::optional<base::Error> why_not_probed(const std::string& host, const Endpoint& endpoint) {
  if (endpoint.family == AF_INET) {
    in_addr address{};
    std::memcpy(&address, endpoint.address.data(), sizeof address);
    return why_not_probed(host, address);
  }
  in6_addr address{};
  std::memcpy(&address, endpoint.address.data(), sizeof address);
  if (IN6_IS_ADDR_MULTICAST(&address)) {
    return base::Error{"probe", host, "a multicast address, which many hosts would answer", "Give the address of one host."};
  }
  if (IN6_IS_ADDR_UNSPECIFIED(&address)) {
    return base::Error{"probe", host, "not the address of a host", "Give the address of one host."};
  }
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    return base::Error{"probe", host, "an IPv4 address in IPv6 form", "Give it as an IPv4 address."};
  }
  return std::nullopt;
}

}  // namespace

base::Result<in_addr> resolve_target(const std::string& host) {
  const base::Error ipv6_only{"probe", host, "it has only IPv6 addresses and probing over IPv6 is not built",
                              "Give an IPv4 address."};
  if (host.empty() || host.find('\0') != std::string::npos) {
    return base::Error{"probe", host, "no host is named", use_ipv4_hint};
  }
  // Written-out addresses need no resolver, which a static binary may not find.
  in_addr address{};
  if (inet_pton(AF_INET, host.c_str(), &address) == 1) {
    return checked(host, address);
  }
  in6_addr ipv6{};
  if (inet_pton(AF_INET6, host.c_str(), &ipv6) == 1) {
    return base::Error{"probe", host, "probing over IPv6 is not built", "Give an IPv4 address."};
  }

  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  const int status = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  if (status != 0) {
    return lookup_error(host, status, errno);
  }
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family == AF_INET) {
      return checked(host, reinterpret_cast<const sockaddr_in*>(entry->ai_addr)->sin_addr);
    }
  }
  return ipv6_only;
}

base::Result<Endpoint> resolve_endpoint(const std::string& host, int family) {
  if (host.empty() || host.find('\0') != std::string::npos) {
    return base::Error{"probe", host, "no host is named", use_ipv4_hint};
  }
  Endpoint endpoint;
  in_addr ipv4{};
  in6_addr ipv6{};
  // Written-out addresses need no resolver, which a static binary may not find.
  if (family != AF_INET6 && inet_pton(AF_INET, host.c_str(), &ipv4) == 1) {
    endpoint = endpoint_of(ipv4);
  } else if (family != AF_INET && inet_pton(AF_INET6, host.c_str(), &ipv6) == 1) {
    endpoint.family = AF_INET6;
    std::memcpy(endpoint.address.data(), &ipv6, sizeof ipv6);
  } else {
    addrinfo hints{};
    hints.ai_family = family;
    hints.ai_socktype = SOCK_DGRAM;
    addrinfo* found = nullptr;
    const int status = getaddrinfo(host.c_str(), nullptr, &hints, &found);
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
    if (status != 0) {
      return lookup_error(host, status, errno);
    }
    SocketAddress address{};
    std::memcpy(&address, found->ai_addr, std::min<std::size_t>(sizeof address, found->ai_addrlen));
    endpoint = endpoint_of(address);
    endpoint.port = 0;
  }
  if (std::optional<base::Error> refusal = why_not_probed(host, endpoint)) {
    return *std::move(refusal);
  }
  return endpoint;
}

std::string format_address(in_addr address) {
  std::array<char, INET_ADDRSTRLEN> text{};
  inet_ntop(AF_INET, &address, text.data(), text.size());
  return text.data();
}

}  // namespace stallscope::probe
