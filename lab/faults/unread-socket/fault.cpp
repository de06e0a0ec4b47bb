// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/unread-socket/fault.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>

#include "base/clock.h"
#include "lab/culprit.h"
#include "lab/topology.h"

namespace stallscope::lab::unread_socket {
namespace {

using base::OwnedFd;
using base::Result;
using base::Status;

constexpr std::array<Parameter, 1> parameters = {{
    {.name = "packets",
     .help = "Packets sent to the server per period, of 1,000 bytes each",
     .default_value = 200,
     .minimum = 1,
     .maximum = 10'000,
     .reason_for_bounds = "More would keep the CPU busy for long, which is another fault."},
}};

/// The server is late however long it is.
Settings settings_for(std::int64_t /*length_ns*/) {
  return {};
}

struct Server {
  OwnedFd client;
  OwnedFd server;
  std::string address;
};

Result<Server> make_server() {
  constexpr int receive_buffer_bytes = 64 * 1024;
  if (Status entered = enter_namespace(node_netns); !entered) {
    return entered.error();
  }
  Server made;
  made.server = OwnedFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  made.client = OwnedFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ::inet_pton(AF_INET, std::string(node_address).c_str(), &address.sin_addr);
  socklen_t size = sizeof address;
  // NOLINTBEGIN(cppcoreguidelines-pro-type-reinterpret-cast): what the socket calls take
  if (!made.server || !made.client ||
      ::setsockopt(made.server.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes) != 0 ||
      ::bind(made.server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::getsockname(made.server.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      ::connect(made.client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return base::errno_error("open", "a socket of the lab", errno);
  }
  // NOLINTEND(cppcoreguidelines-pro-type-reinterpret-cast)
  made.address = fmt::format("{}:{}", node_address, ntohs(address.sin_port));
  return made;
}

Result<PreparedCulprit> prepare(const RunOptions& options) {
  Result<Server> made = make_server();
  if (!made) {
    return made.error();
  }
  const auto server = std::make_shared<Server>(std::move(*made));
  const std::int64_t packets_count = options.settings.value(parameters[0]);
  return PreparedCulprit{[server, packets_count, healthy = options.healthy]() -> Result<Turn> {
                           constexpr std::size_t packet_bytes = 1'000;
                           std::array<char, packet_bytes> packet{};
                           Stall stall;
                           stall.start_ns = base::monotonic_ns();
                           for (std::int64_t sent = 0; sent < packets_count; ++sent) {
                             if (::send(server->client.get(), packet.data(), packet.size(), 0) < 0) {
                               return base::errno_error("send", "a packet of the lab", errno);
                             }
                             while (healthy && ::recv(server->server.get(), packet.data(), packet.size(), MSG_DONTWAIT) > 0) {
                             }
                           }
                           stall.end_ns = base::monotonic_ns();
                           stall.extras = {{"address", server->address}};
                           return Turn{{stall}};
                         },
                         {{"address", server->address}}};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  return run_culprit(
      {.fault = fault, .options = options, .comm = "lab-server"}, [&] { return prepare(options); }, stop, output);
}

}  // namespace

constexpr Fault fault = {
    .id = "unread-socket",
    .summary = "a server does not read its socket: the packet path is innocent",
    .expected_rule = "socket-unread",
    .expected_mode = blames_nothing,
    .healthy_help = "the same packets, all of which it reads",
    .parameters = parameters,
    .settings_for = settings_for,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::unread_socket
