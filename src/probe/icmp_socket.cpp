// SPDX-License-Identifier: Apache-2.0
#include "probe/icmp_socket.h"

#include <fmt/format.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <sys/random.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/units.h"
#include "probe/resolve.h"

namespace stallscope::probe {
namespace {

/// Holds thousands of replies: what comes at once when a stall of seconds ends.
constexpr int receive_buffer_bytes = 4 << 20;
/// A burst of overdue probes must not fail for want of buffer.
constexpr int send_buffer_bytes = 1 << 20;
/// IP header with options, our packet and what a host may pad it with.
constexpr std::size_t message_bytes = 256;
constexpr std::size_t control_bytes = 256;

template <typename T>
void set_option(int fd, int level, int option, const T& value) {
  // None of the options set this way decides whether probing works; what they would have told is then just not there.
  static_cast<void>(setsockopt(fd, level, option, &value, sizeof value));
}

void grow_buffers(int fd) {
  // FORCE exceeds net.core.rmem_max, with CAP_NET_ADMIN.
  set_option(fd, SOL_SOCKET, SO_RCVBUF, receive_buffer_bytes);
  set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer_bytes);
  set_option(fd, SOL_SOCKET, SO_SNDBUF, send_buffer_bytes);
  set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, send_buffer_bytes);
}

/// A raw socket gets a copy of every ICMP message from the target; only echo replies with our identifier are to wake us.
base::Status filter_replies(int fd, std::uint16_t identifier) {
  constexpr std::uint32_t drop = 0;
  constexpr std::uint32_t accept_all = 0xffffffff;
  const auto opcode = [](auto code) { return static_cast<std::uint16_t>(code); };
  // A raw socket's filter sees the packet from the IP header on.
  std::array<sock_filter, 7> program = {{
      {opcode(BPF_LDX | BPF_B | BPF_MSH), 0, 0, 0},  // X = IP header length
      {opcode(BPF_LD | BPF_B | BPF_IND), 0, 0, 0},   // ICMP type
      {opcode(BPF_JMP | BPF_JEQ | BPF_K), 0, 3, 0},  // echo reply
      {opcode(BPF_LD | BPF_H | BPF_IND), 0, 0, 4},   // identifier
      {opcode(BPF_JMP | BPF_JEQ | BPF_K), 0, 1, identifier},
      {opcode(BPF_RET | BPF_K), 0, 0, accept_all},
      {opcode(BPF_RET | BPF_K), 0, 0, drop},
  }};
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0) {
    return base::errno_error("filter", "ICMP socket", errno);
  }
  return base::ok();
}

base::Error connect_error(in_addr target, int errno_value) {
  const std::string address = format_address(target);
  const std::string route_hint = "Check the route with: ip route get " + address;
  switch (errno_value) {
    case ENETUNREACH:
      return {"probe", address, "no route to it", route_hint};
    case EHOSTUNREACH:
      return {"probe", address, "the route to it says unreachable", route_hint};
    case EINVAL:
      return {"probe", address, "the route to it is a blackhole", route_hint};
    case EACCES:
      return {"probe", address, "it is a broadcast address, or the route to it says prohibited", route_hint};
    default:
      return base::errno_error("probe", address, errno_value, route_hint);
  }
}

base::Error not_permitted() {
  return {"open", "an ICMP socket", "neither a raw socket nor a ping socket is permitted",
          "Run as root (CAP_NET_RAW), or let your group use ping sockets: sysctl net.ipv4.ping_group_range=\"0 2147483647\""};
}

struct OpenedSocket {
  base::OwnedFd fd;
  IcmpSocketKind kind = IcmpSocketKind::raw;
};

base::Result<OpenedSocket> open_permitted() {
  const auto open_kind = [](int type) { return base::OwnedFd(socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMP)); };
  const auto refused = [](int errno_value) { return errno_value == EPERM || errno_value == EACCES; };
  base::OwnedFd raw = open_kind(SOCK_RAW);
  if (raw) {
    return OpenedSocket{std::move(raw), IcmpSocketKind::raw};
  }
  if (!refused(errno)) {
    return base::errno_error("open", "a raw ICMP socket", errno);
  }
  base::OwnedFd ping = open_kind(SOCK_DGRAM);
  if (ping) {
    return OpenedSocket{std::move(ping), IcmpSocketKind::ping};
  }
  return refused(errno) ? not_permitted() : base::errno_error("open", "an ICMP socket", errno);
}

base::Status connect_to(int fd, in_addr target) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr = target;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return connect_error(target, errno);
  }
  return base::ok();
}

base::Result<std::uint16_t> choose_identifier(const OpenedSocket& socket) {
  if (socket.kind == IcmpSocketKind::ping) {
    sockaddr_in bound{};
    socklen_t length = sizeof bound;
    if (getsockname(socket.fd.get(), reinterpret_cast<sockaddr*>(&bound), &length) != 0) {
      return base::errno_error("read", "the ping socket's identifier", errno);
    }
    return ntohs(bound.sin_port);
  }
  std::uint16_t identifier = 0;
  if (getrandom(&identifier, sizeof identifier, 0) != static_cast<ssize_t>(sizeof identifier)) {
    return base::errno_error("draw", "a random identifier", errno);
  }
  return identifier;
}

base::Result<OpenedSocket> open_connected(in_addr target) {
  base::Result<OpenedSocket> opened = open_permitted();
  if (!opened) {
    return opened.error();
  }
  if (const base::Status status = connect_to(opened->fd.get(), target); !status) {
    return status.error();
  }
  return opened;
}

}  // namespace

struct IcmpSocket::Buffers {
  struct Message {
    std::array<std::byte, message_bytes> data;
    alignas(cmsghdr) std::array<std::byte, control_bytes> control;
    iovec vector;
  };
  std::array<Message, batch_size> messages{};
  std::array<mmsghdr, batch_size> headers{};
  std::array<ReceivedIcmp, batch_size> received{};
  /// Errors have a buffer of their own: they are read while a batch of replies is in use.
  Message error{};

  static void prepare(Message& message, msghdr& header) {
    message.vector = {message.data.data(), message.data.size()};
    header = {};
    header.msg_iov = &message.vector;
    header.msg_iovlen = 1;
    header.msg_control = message.control.data();
    header.msg_controllen = message.control.size();
  }
};

IcmpSocket::IcmpSocket(base::OwnedFd fd, IcmpSocketKind kind, std::uint16_t identifier)
    : fd_(std::move(fd)), kind_(kind), identifier_(identifier), buffers_(std::make_unique<Buffers>()) {}
IcmpSocket::IcmpSocket(IcmpSocket&&) noexcept = default;
IcmpSocket& IcmpSocket::operator=(IcmpSocket&&) noexcept = default;
IcmpSocket::~IcmpSocket() = default;

base::Result<IcmpSocket> IcmpSocket::open(in_addr target, const NetworkNamespace* netns) {
  base::Result<OpenedSocket> opened = OpenedSocket{};
  const auto open_here = [&] { opened = open_connected(target); };
  if (netns == nullptr) {
    open_here();
  } else if (const base::Status entered = run_in_netns(*netns, open_here); !entered) {
    return entered.error();
  }
  if (!opened) {
    return opened.error();
  }
  const int fd = opened->fd.get();
  const base::Result<std::uint16_t> identifier = choose_identifier(*opened);
  if (!identifier) {
    return identifier.error();
  }
  if (opened->kind == IcmpSocketKind::raw) {
    if (const base::Status status = filter_replies(fd, *identifier); !status) {
      return status.error();
    }
  }
  grow_buffers(fd);
  constexpr int on = 1;
  set_option(fd, SOL_SOCKET, SO_TIMESTAMPNS, on);
  set_option(fd, SOL_SOCKET, SO_RXQ_OVFL, on);
  set_option(fd, IPPROTO_IP, IP_RECVERR, on);
  return IcmpSocket(std::move(opened->fd), opened->kind, *identifier);
}

int IcmpSocket::send(const EchoPacket& packet) const {
  while (::send(fd_.get(), packet.data(), packet.size(), 0) < 0) {
    if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

void IcmpSocket::read_control(msghdr& header, ReceivedIcmp& message) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
    if (control->cmsg_level != SOL_SOCKET) {
      continue;
    }
    if (control->cmsg_type == SCM_TIMESTAMPNS && control->cmsg_len >= CMSG_LEN(sizeof(timespec))) {
      timespec stamp{};
      std::memcpy(&stamp, CMSG_DATA(control), sizeof stamp);
      message.received_realtime_ns = (static_cast<std::int64_t>(stamp.tv_sec) * base::ns_per_s) + stamp.tv_nsec;
    } else if (control->cmsg_type == SO_RXQ_OVFL && control->cmsg_len >= CMSG_LEN(sizeof dropped_)) {
      std::memcpy(&dropped_, CMSG_DATA(control), sizeof dropped_);
    }
  }
}

std::span<const ReceivedIcmp> IcmpSocket::receive() {
  Buffers& buffers = *buffers_;
  for (std::size_t i = 0; i < batch_size; ++i) {
    Buffers::prepare(buffers.messages[i], buffers.headers[i].msg_hdr);
  }
  int count = -1;
  // An ICMP error leaves an error pending on the socket, which the first call reports and thereby clears; receive_error() has the
  // details. A second failure that is not "nothing there" is left to the next poll.
  for (int attempt = 0; attempt < 2 && count < 0; ++attempt) {
    count = recvmmsg(fd_.get(), buffers.headers.data(), batch_size, MSG_DONTWAIT, nullptr);
    if (count < 0 && errno == EAGAIN) {
      break;
    }
  }
  const auto received_count = static_cast<std::size_t>(count > 0 ? count : 0);
  for (std::size_t i = 0; i < received_count; ++i) {
    mmsghdr& header = buffers.headers[i];
    ReceivedIcmp& message = buffers.received[i];
    const std::span<const std::byte> data(buffers.messages[i].data.data(), header.msg_len);
    message = {};
    message.icmp = kind_ == IcmpSocketKind::ping ? data : icmp_of_ipv4(data).value_or(std::span<const std::byte>{});
    message.truncated = (header.msg_hdr.msg_flags & MSG_TRUNC) != 0;
    read_control(header.msg_hdr, message);
  }
  return std::span(buffers.received).first(received_count);
}

std::optional<ReceivedIcmpError> IcmpSocket::receive_error() {
  Buffers::Message& message = buffers_->error;
  while (true) {
    msghdr header{};
    Buffers::prepare(message, header);
    const ssize_t got = recvmsg(fd_.get(), &header, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (got < 0) {
      return std::nullopt;
    }
    for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
      struct Report {
        sock_extended_err error;
        sockaddr_in offender;
      };
      if (control->cmsg_level != IPPROTO_IP || control->cmsg_type != IP_RECVERR || control->cmsg_len < CMSG_LEN(sizeof(Report))) {
        continue;
      }
      Report report{};
      std::memcpy(&report, CMSG_DATA(control), sizeof report);
      if (report.error.ee_origin == SO_EE_ORIGIN_ICMP) {
        return ReceivedIcmpError{.type = report.error.ee_type,
                                 .code = report.error.ee_code,
                                 .reporter = report.offender.sin_addr,
                                 .quoted = std::span(message.data).first(static_cast<std::size_t>(got))};
      }
    }
  }
}

}  // namespace stallscope::probe
