// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/bh-off-section/sender.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <vector>

#include "base/text.h"
#include "host/program.h"

namespace stallscope::lab::bh_off_section {
namespace {

using base::OwnedFd;
using base::Result;
using base::Status;

Status make_device() {
  // The neighbour is given, so that no ARP request goes ahead of the first packet.
  for (const std::string_view arguments :
       {"ip link add lab0 type veth peer name lab1", "ip address add 10.0.9.1/24 dev lab0", "ip link set lab0 up",
        "ip link set lab1 up", "ip neigh add 10.0.9.2 lladdr 02:00:00:00:00:01 nud permanent dev lab0"}) {
    std::vector<std::string> words;
    for (const std::string_view word : base::split_fields(arguments)) {
      words.emplace_back(word);
    }
    if (const Result<std::string> ran = host::run_program(words); !ran) {
      return ran.error();
    }
  }
  return base::ok();
}

Result<OwnedFd> open_socket(std::uint32_t mark) {
  constexpr std::uint16_t discard_port = 9;
  OwnedFd sending(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(discard_port);
  ::inet_pton(AF_INET, "10.0.9.2", &address.sin_addr);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): what connect(2) takes
  if (!sending || ::setsockopt(sending.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0 ||
      ::connect(sending.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return base::errno_error("open", "a socket to send from", errno);
  }
  return sending;
}

}  // namespace

Result<Sender> make_sender(std::uint32_t mark) {
  if (::unshare(CLONE_NEWNET) != 0) {
    return base::errno_error("make", "a network namespace", errno);
  }
  if (Status made = make_device(); !made) {
    return made.error();
  }
  Result<OwnedFd> sending = open_socket(mark);
  if (!sending) {
    return sending.error();
  }
  return Sender{std::move(*sending), static_cast<int>(::if_nametoindex("lab0"))};
}

}  // namespace stallscope::lab::bh_off_section
