// SPDX-License-Identifier: Apache-2.0
#include "lab/packet_path.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/clock.h"
#include "base/files.h"
#include "base/units.h"
#include "host/private_mounts.h"
#include "lab/run_words.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;
using base::Status;

constexpr std::uint16_t discard_port = 9;

/// Moves the calling process into a network namespace of its own.
Result<OwnedFd> make_netns() {
  if (::unshare(CLONE_NEWNET) != 0) {
    return base::errno_error("make", "a network namespace", errno);
  }
  return base::open_file("/proc/self/ns/net", O_RDONLY);
}

sockaddr_in receiving_address() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(discard_port);
  ::inet_pton(AF_INET, "10.0.9.2", &address.sin_addr);
  return address;
}

Result<OwnedFd> open_socket(int (*attach)(int, const sockaddr*, socklen_t)) {
  OwnedFd opened(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = receiving_address();
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): what bind(2) and connect(2) take
  if (!opened || attach(opened.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return base::errno_error("open", "a socket of the lab", errno);
  }
  return opened;
}

}  // namespace

Status enter_netns(const OwnedFd& netns) {
  return ::setns(netns.get(), CLONE_NEWNET) == 0 ? base::ok()
                                                 : Status(base::errno_error("enter", "a network namespace of the lab", errno));
}

Status with_own_sysfs(const std::function<Status()>& action) {
  return host::in_private_mounts([&]() -> Status {
    if (::mount("sysfs", "/sys", "sysfs", 0, nullptr) != 0) {
      return base::errno_error("mount", "/sys", errno);
    }
    return action();
  });
}

Result<PacketPath> make_packet_path() {
  PacketPath path;
  for (OwnedFd* netns : {&path.sending_netns, &path.receiving_netns}) {
    Result<OwnedFd> made = make_netns();
    if (!made) {
      return made.error();
    }
    *netns = std::move(*made);
  }
  const std::string sending_netns = fmt::format("/proc/{}/fd/{}", ::getpid(), path.sending_netns.get());
  Status made = run_all({"ip link set lo up",
                         fmt::format("ip link add lab1 address 02:00:00:00:09:02 type veth peer name lab0 address "
                                     "02:00:00:00:09:01 netns {}",
                                     sending_netns),
                         "ip address add 10.0.9.2/24 dev lab1", "ip link set lab1 up",
                         "ip neigh add 10.0.9.1 lladdr 02:00:00:00:09:01 nud permanent dev lab1"});
  if (made) {
    made = enter_netns(path.sending_netns);
  }
  if (made) {
    made = run_all({"ip address add 10.0.9.1/24 dev lab0", "ip link set lab0 up",
                    "ip neigh add 10.0.9.2 lladdr 02:00:00:00:09:02 nud permanent dev lab0"});
  }
  if (!made) {
    return made.error();
  }
  Result<OwnedFd> sender = open_socket(::connect);
  if (Status entered = enter_netns(path.receiving_netns); !entered) {
    return entered.error();
  }
  Result<OwnedFd> receiver = open_socket(::bind);
  if (!sender || !receiver) {
    return sender ? receiver.error() : sender.error();
  }
  path.sender = std::move(*sender);
  path.receiver = std::move(*receiver);
  path.receiving_interface_index = static_cast<int>(::if_nametoindex(std::string(receiving_device).c_str()));
  return path;
}

namespace {

/// A packet is received where it was sent, within the system call, unless another CPU has just put one into the same backlog: then
/// that CPU's interrupt begins with both, and who is interrupted by it serves them. The lab does not know who that was.
void name_nobody(Stall& stall) {
  stall.extras = {{"pid", nullptr}, {"comm", nullptr}, {"syscall", nullptr}};
}

struct PassedPacket {
  Stall stall;
  std::int64_t sent_ns = 0;
};

Result<PassedPacket> pass(const PacketPath& path) {
  constexpr int patience_ms = 5000;
  PassedPacket passed;
  Stall& stall = passed.stall;
  stall.start_ns = base::monotonic_ns();
  if (::send(path.sender.get(), "", 1, 0) != 1) {
    return base::errno_error("send", "a packet of the lab", errno);
  }
  passed.sent_ns = base::monotonic_ns();
  pollfd readable{path.receiver.get(), POLLIN, 0};
  if (::poll(&readable, 1, patience_ms) != 1) {
    return Error{"receive", "a packet of the lab", "it did not arrive within 5 s", ""};
  }
  stall.end_ns = base::monotonic_ns();
  char byte = 0;
  static_cast<void>(::recv(path.receiver.get(), &byte, 1, MSG_DONTWAIT));
  return passed;
}

}  // namespace

Result<Stall> pass_packet(const PacketPath& path) {
  Result<PassedPacket> passed = pass(path);
  if (!passed) {
    return passed.error();
  }
  Stall& stall = passed->stall;
  if (stall.end_ns - passed->sent_ns > passed->sent_ns - stall.start_ns) {
    name_nobody(stall);
  }
  return std::move(stall);
}

Result<Stall> pass_packet_through(const Fault& fault, const PacketPath& path, const __u64& started_ns, const __u64& ended_ns) {
  const __u64 seen_ns = ended_ns;
  Result<PassedPacket> passed = pass(path);
  if (!passed) {
    return passed.error();
  }
  if (ended_ns == seen_ns) {
    return Error{"run fault", std::string(fault.id), "the packet did not pass the program", ""};
  }
  Stall& stall = passed->stall;
  stall.start_ns = static_cast<std::int64_t>(started_ns);
  stall.end_ns = static_cast<std::int64_t>(ended_ns);
  if (stall.start_ns > passed->sent_ns) {
    name_nobody(stall);
  }
  return std::move(stall);
}

}  // namespace stallscope::lab
