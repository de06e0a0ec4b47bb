// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/accept-overflow/fault.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "lab/culprit.h"
#include "lab/topology.h"

namespace stallscope::lab::accept_overflow {
namespace {

using base::OwnedFd;
using base::Result;
using base::Status;

constexpr std::array<Parameter, 2> parameters = {{
    {.name = "backlog",
     .help = "Connections that may wait to be accepted (listen(2))",
     .default_value = 4,
     .minimum = 1,
     .maximum = 1'000,
     .reason_for_bounds = "More are not needed to overflow it."},
    {.name = "connections",
     .help = "Attempts to connect per period",
     .default_value = 20,
     .minimum = 1,
     .maximum = 1'000,
     .reason_for_bounds = "Each takes a descriptor."},
}};

/// The server is late however long it is.
Settings settings_for(std::int64_t /*length_ns*/) {
  return {};
}

struct Server {
  OwnedFd listener;
  sockaddr_in address{};
  std::string name;
};

Result<Server> make_server(int backlog) {
  if (Status entered = enter_namespace(node_netns); !entered) {
    return entered.error();
  }
  Server made;
  made.listener = OwnedFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  made.address.sin_family = AF_INET;
  ::inet_pton(AF_INET, std::string(node_address).c_str(), &made.address.sin_addr);
  socklen_t size = sizeof made.address;
  // NOLINTBEGIN(cppcoreguidelines-pro-type-reinterpret-cast): what the socket calls take
  if (!made.listener || ::bind(made.listener.get(), reinterpret_cast<const sockaddr*>(&made.address), size) != 0 ||
      ::listen(made.listener.get(), backlog) != 0 ||
      ::getsockname(made.listener.get(), reinterpret_cast<sockaddr*>(&made.address), &size) != 0) {
    return base::errno_error("open", "a socket of the lab", errno);
  }
  // NOLINTEND(cppcoreguidelines-pro-type-reinterpret-cast)
  made.name = fmt::format("{}:{}", node_address, ntohs(made.address.sin_port));
  return made;
}

/// In the control each is accepted at once.
Result<Turn> connect_all(const Server& server, std::int64_t connections_count, bool healthy) {
  Stall stall;
  stall.start_ns = base::monotonic_ns();
  std::vector<OwnedFd> clients;
  for (std::int64_t index = 0; index < connections_count; ++index) {
    OwnedFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): what connect(2) takes
    if (!client || (::connect(client.get(), reinterpret_cast<const sockaddr*>(&server.address), sizeof server.address) != 0 &&
                    errno != EINPROGRESS)) {
      return base::errno_error("connect", server.name, errno);
    }
    clients.push_back(std::move(client));
    while (healthy) {
      const OwnedFd accepted(::accept4(server.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!accepted) {
        break;
      }
    }
  }
  stall.end_ns = base::monotonic_ns();
  stall.extras = {{"address", server.name}};
  return Turn{{stall}};
}

Result<PreparedCulprit> prepare(const RunOptions& options) {
  Result<Server> made = make_server(static_cast<int>(options.settings.value(parameters[0])));
  if (!made) {
    return made.error();
  }
  const auto server = std::make_shared<Server>(std::move(*made));
  const std::int64_t connections_count = options.settings.value(parameters[1]);
  return PreparedCulprit{
      [server, connections_count, healthy = options.healthy] { return connect_all(*server, connections_count, healthy); },
      {{"address", server->name}}};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  return run_culprit(
      {.fault = fault, .options = options, .comm = "lab-server"}, [&] { return prepare(options); }, stop, output);
}

}  // namespace

constexpr Fault fault = {
    .id = "accept-overflow",
    .summary = "a server does not accept its connections: the packet path is innocent",
    .expected_rule = "accept-queue",
    .expected_mode = blames_nothing,
    .healthy_help = "the same connections, each accepted at once",
    .parameters = parameters,
    .settings_for = settings_for,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::accept_overflow
