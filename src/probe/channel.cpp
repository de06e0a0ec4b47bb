// SPDX-License-Identifier: Apache-2.0
#include "probe/channel.h"

#include <fmt/format.h>
#include <linux/errqueue.h>
#include <sys/random.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "probe/channel_filter.h"
#include "probe/udp_packet.h"

namespace stallscope::probe {
namespace {

using evidence::ProbeKind;

/// Holds thousands of answers: what comes at once when a stall of seconds ends.
constexpr int receive_buffer_bytes = 8 << 20;
/// A burst of overdue probes must not fail for want of buffer.
constexpr int send_buffer_bytes = 1 << 20;
/// IP header with options, an answer and what a host may pad it with.
constexpr std::size_t message_bytes = 256;
/// Timestamps, drops, and an ICMPv6 error with who reported it.
constexpr std::size_t control_bytes = 256;
/// Transmit timestamps come when a packet leaves, in order but for several queues: more outstanding ones than this are not known.
constexpr std::size_t key_capacity = 65536;

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

base::Error not_permitted(ProbeKind kind) {
  if (kind == ProbeKind::icmp_echo) {
    return {"open", "an ICMP socket", "neither a raw socket nor a ping socket is permitted",
            "Run as root (CAP_NET_RAW), or let your group use ping sockets: sysctl net.ipv4.ping_group_range=\"0 2147483647\""};
  }
  return {"open", "a raw TCP socket", "it is not permitted", "Run as root (CAP_NET_RAW)."};
}

struct OpenedSocket {
  base::OwnedFd fd;
  bool raw = false;
};

base::Result<OpenedSocket> open_socket(const ChannelOptions& options) {
  const auto open_kind = [&](int type, int protocol) {
    return base::OwnedFd(socket(options.family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  };
  const int icmp = options.family == AF_INET6 ? static_cast<int>(IPPROTO_ICMPV6) : static_cast<int>(IPPROTO_ICMP);
  OpenedSocket opened;
  if (options.kind == ProbeKind::udp_echo) {
    opened.fd = open_kind(SOCK_DGRAM, 0);
  } else {
    opened.fd = open_kind(SOCK_RAW, options.kind == ProbeKind::icmp_echo ? icmp : static_cast<int>(IPPROTO_TCP));
    opened.raw = true;
    if (!opened.fd && (errno == EPERM || errno == EACCES) && options.kind == ProbeKind::icmp_echo) {
      opened.fd = open_kind(SOCK_DGRAM, icmp);
      opened.raw = false;
    }
  }
  if (!opened.fd) {
    return errno == EPERM || errno == EACCES ? not_permitted(options.kind)
                                             : base::errno_error("open", "a socket to probe by", errno);
  }
  return opened;
}

/// Gives the socket a name: a ping socket's port is the identifier of its echo requests.
base::Result<std::uint16_t> bind_port(int fd, int family, std::uint16_t port) {
  Endpoint any;
  any.family = family;
  any.port = port;
  SocketAddress address{};
  socklen_t length = to_socket_address(any, address);
  if (bind(fd, &address.any, length) != 0) {
    return base::errno_error("probe from", fmt::format("source port {}", port), errno,
                             "Give ports that no program uses with --source-port.");
  }
  if (getsockname(fd, &address.any, &length) != 0) {
    return base::errno_error("read", "the address of a socket", errno);
  }
  return endpoint_of(address).port;
}

base::Status attach(int fd, const FilterProgram& program) {
  // The kernel copies it.
  FilterProgram copy = program;
  const sock_fprog filter{static_cast<unsigned short>(copy.size()), copy.data()};
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0) {
    return base::errno_error("filter", "a raw socket", errno);
  }
  return base::ok();
}

}  // namespace

struct Channel::Buffers {
  struct Incoming {
    std::array<std::byte, message_bytes> data;
    alignas(cmsghdr) std::array<std::byte, control_bytes> control;
    SocketAddress from;
    iovec vector;
  };
  struct Outgoing {
    std::array<std::byte, longest_packet_bytes> data;
    SocketAddress to;
    iovec vector;
    std::int64_t sequence;
  };
  std::array<Incoming, batch_size> incoming{};
  std::array<mmsghdr, batch_size> incoming_headers{};
  std::array<ReceivedPacket, batch_size> packets{};
  /// Errors have buffers of their own: they are read while a batch of answers is in use.
  std::array<Incoming, batch_size> failed{};
  std::array<mmsghdr, batch_size> failed_headers{};
  std::array<QueuedError, batch_size> errors{};
  std::array<Outgoing, batch_size> outgoing{};
  std::array<mmsghdr, batch_size> outgoing_headers{};

  /// How many of them the last call filled: recvmmsg(2) changes the lengths of those, which are set again before the next.
  std::size_t incoming_used = batch_size;
  std::size_t failed_used = batch_size;

  static void prepare(std::array<Incoming, batch_size>& messages, std::array<mmsghdr, batch_size>& headers, std::size_t used) {
    for (std::size_t i = 0; i < used; ++i) {
      Incoming& message = messages[i];
      message.vector = {message.data.data(), message.data.size()};
      msghdr& header = headers[i].msg_hdr;
      header.msg_name = &message.from;
      header.msg_namelen = sizeof message.from;
      header.msg_iov = &message.vector;
      header.msg_iovlen = 1;
      header.msg_control = message.control.data();
      header.msg_controllen = message.control.size();
      header.msg_flags = 0;
    }
  }
};

Channel::Channel(base::OwnedFd fd, const ChannelOptions& options, bool raw)
    : fd_(std::move(fd)),
      options_(options),
      raw_(raw),
      sequences_by_key_(options.transmit_timestamps ? key_capacity : 0),
      buffers_(std::make_unique<Buffers>()) {}
Channel::Channel(Channel&&) noexcept = default;
Channel& Channel::operator=(Channel&&) noexcept = default;
Channel::~Channel() = default;

base::Result<Channel> Channel::open(const ChannelOptions& options) {
  base::Result<OpenedSocket> opened = open_socket(options);
  if (!opened) {
    return opened.error();
  }
  const bool raw = opened->raw;
  Channel channel(std::move(opened->fd), options, raw);
  const int fd = channel.fd_.get();
  constexpr int on = 1;
  if (raw && options.kind == ProbeKind::icmp_echo) {
    if (options.icmp_identifier) {
      channel.identifier_ = *options.icmp_identifier;
    } else if (getrandom(&channel.identifier_, sizeof channel.identifier_, 0) != static_cast<ssize_t>(sizeof channel.identifier_)) {
      return base::errno_error("draw", "a random identifier", errno);
    }
    const bool ipv6 = options.family == AF_INET6;
    if (const base::Status status = attach(fd, echo_reply_filter(channel.identifier_, ipv6)); !status) {
      return status.error();
    }
  } else if (options.kind == ProbeKind::tcp_syn) {
    if (const base::Status status = attach(fd, tcp_answer_filter(options.tcp_source_ports, options.family == AF_INET6)); !status) {
      return status.error();
    }
    if (options.family == AF_INET6) {
      set_option(fd, IPPROTO_IPV6, IPV6_CHECKSUM, tcp_checksum_offset);
    } else {
      set_option(fd, IPPROTO_IP, IP_HDRINCL, on);
    }
  } else {
    if (options.family == AF_INET6) {
      set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, on);  // else it takes the port of IPv4 as well
    }
    const base::Result<std::uint16_t> port =
        bind_port(fd, options.family, options.icmp_identifier.value_or(options.udp_source_port));
    if (!port) {
      return port.error();
    }
    channel.source_port_ = *port;
    channel.identifier_ = *port;
  }
  grow_buffers(fd);
  set_option(fd, SOL_SOCKET, SO_RXQ_OVFL, on);
  if (options.family == AF_INET6) {
    set_option(fd, IPPROTO_IPV6, IPV6_RECVERR, on);
  } else {
    set_option(fd, IPPROTO_IP, IP_RECVERR, on);
  }
  channel.start_timestamps();
  return channel;
}

bool Channel::raw_permitted() {
  return static_cast<bool>(base::OwnedFd(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP)));
}

void Channel::start_timestamps() {
  const StampRequest request{.transmit = options_.transmit_timestamps,
                             .hardware_receive = options_.hardware_receive_timestamps,
                             .hardware_transmit = options_.hardware_transmit_timestamps};
  // Setting SOF_TIMESTAMPING_OPT_ID anew starts the numbering of sent packets at 0: only a change from off to on does.
  set_option(fd_.get(), SOL_SOCKET, SO_TIMESTAMPING, request.receive_flags());
  set_option(fd_.get(), SOL_SOCKET, SO_TIMESTAMPING, request.all_flags());
  next_key_ = 0;
}

std::span<std::byte> Channel::next_packet() {
  return buffers_->outgoing[batched_].data;
}

void Channel::add(std::size_t packet_bytes, const Endpoint& to, std::int64_t sequence) {
  Buffers::Outgoing& packet = buffers_->outgoing[batched_];
  packet.sequence = sequence;
  packet.vector = {packet.data.data(), packet_bytes};
  msghdr& header = buffers_->outgoing_headers[batched_].msg_hdr;
  header = {};
  header.msg_name = &packet.to;
  header.msg_namelen = to_socket_address(to, packet.to, options_.kind == ProbeKind::udp_echo);
  header.msg_iov = &packet.vector;
  header.msg_iovlen = 1;
  ++batched_;
}

std::int64_t Channel::batched_sequence(std::size_t index) const {
  return buffers_->outgoing[index].sequence;
}

std::size_t Channel::send(std::size_t first, int& error_number) {
  error_number = 0;
  const auto count = static_cast<unsigned>(batched_ - first);
  int sent = 0;
  do {
    sent = sendmmsg(fd_.get(), &buffers_->outgoing_headers[first], count, 0);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    error_number = errno;
    // Whether the kernel counted the packet that failed depends on where it did: begin to count anew. Stamps of the old count that
    // are still to come have numbers that no packet has yet.
    if (options_.transmit_timestamps) {
      start_timestamps();
    }
    return 0;
  }
  if (options_.transmit_timestamps) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(sent); ++i) {
      sequences_by_key_[next_key_ % key_capacity] = buffers_->outgoing[first + i].sequence;
      ++next_key_;
    }
  }
  return static_cast<std::size_t>(sent);
}

std::span<const std::byte> Channel::payload_of(std::span<const std::byte> data) const {
  // Only raw IPv4 sockets deliver the IP header.
  if (!raw_ || options_.family != AF_INET) {
    return data;
  }
  const std::uint8_t protocol = options_.kind == ProbeKind::tcp_syn ? IPPROTO_TCP : IPPROTO_ICMP;
  return payload_of_ipv4(data, protocol).value_or(std::span<const std::byte>{});
}

std::span<const ReceivedPacket> Channel::receive() {
  Buffers& buffers = *buffers_;
  Buffers::prepare(buffers.incoming, buffers.incoming_headers, buffers.incoming_used);
  int got = -1;
  // The error of an earlier packet, which an ICMP error told of, comes before what was received; the next call is past it.
  constexpr int attempts = 3;
  for (int attempt = 0; attempt < attempts && got < 0; ++attempt) {
    got = recvmmsg(fd_.get(), buffers.incoming_headers.data(), batch_size, MSG_DONTWAIT, nullptr);
    if (got < 0 && errno == EAGAIN) {
      break;
    }
  }
  const std::size_t count = got > 0 ? static_cast<std::size_t>(got) : 0;
  buffers.incoming_used = count;
  for (std::size_t i = 0; i < count; ++i) {
    mmsghdr& header = buffers.incoming_headers[i];
    ReceivedPacket& packet = buffers.packets[i];
    packet = {};
    packet.payload = payload_of(std::span(buffers.incoming[i].data).first(header.msg_len));
    packet.from = endpoint_of(buffers.incoming[i].from);
    packet.truncated = (header.msg_hdr.msg_flags & MSG_TRUNC) != 0;
    read_control(header.msg_hdr, packet);
  }
  return std::span(buffers.packets).first(count);
}

void Channel::read_control(msghdr& header, ReceivedPacket& packet) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
    if (control->cmsg_level != SOL_SOCKET) {
      continue;
    }
    if (control->cmsg_type == SO_RXQ_OVFL && control->cmsg_len >= CMSG_LEN(sizeof dropped_)) {
      std::memcpy(&dropped_, CMSG_DATA(control), sizeof dropped_);
    } else if (const PacketStamps stamps = stamps_of(*control); stamps.any()) {
      packet.stamps = stamps;
    }
  }
}

std::span<const QueuedError> Channel::receive_errors(bool& more) {
  Buffers& buffers = *buffers_;
  Buffers::prepare(buffers.failed, buffers.failed_headers, buffers.failed_used);
  const int got = recvmmsg(fd_.get(), buffers.failed_headers.data(), batch_size, MSG_ERRQUEUE | MSG_DONTWAIT, nullptr);
  more = got == static_cast<int>(batch_size);
  buffers.failed_used = got > 0 ? static_cast<std::size_t>(got) : 0;
  std::size_t count = 0;
  for (int i = 0; i < got; ++i) {
    const auto index = static_cast<std::size_t>(i);
    mmsghdr& header = buffers.failed_headers[index];
    if (std::optional<QueuedError> error =
            read_error(header.msg_hdr, std::span(buffers.failed[index].data).first(header.msg_len))) {
      buffers.errors[count++] = *error;
    }
  }
  return std::span(buffers.errors).first(count);
}

std::optional<QueuedError> Channel::read_error(msghdr& header, std::span<const std::byte> data) const {
  struct Report {
    sock_extended_err error;
    SocketAddress offender;
  };
  Report report{};
  PacketStamps stamps;
  bool has_report = false;
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
    const bool is_report = (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_RECVERR) ||
                           (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_RECVERR);
    if (is_report && control->cmsg_len >= CMSG_LEN(sizeof report.error)) {
      std::memcpy(&report, CMSG_DATA(control), std::min(sizeof report, control->cmsg_len - CMSG_LEN(0)));
      has_report = true;
    } else if (const PacketStamps found = stamps_of(*control); found.any()) {
      stamps = found;
    }
  }
  if (!has_report) {
    return std::nullopt;
  }
  QueuedError error;
  if (report.error.ee_origin == SO_EE_ORIGIN_TIMESTAMPING) {
    const std::uint32_t key = report.error.ee_data;
    const std::uint32_t age = next_key_ - key;
    if (!stamps.any() || age == 0 || age > next_key_ || age > key_capacity || sequences_by_key_.empty()) {
      return std::nullopt;
    }
    error.transmitted = {.sequence = sequences_by_key_[key % key_capacity], .stamps = stamps};
    return error;
  }
  if (report.error.ee_origin != SO_EE_ORIGIN_ICMP && report.error.ee_origin != SO_EE_ORIGIN_ICMP6) {
    return std::nullopt;
  }
  error.type = report.error.ee_type;
  error.code = report.error.ee_code;
  error.reporter = endpoint_of(report.offender);
  error.reporter.port = 0;
  // A socket that sends IP headers is quoted with them.
  error.quoted = options_.kind == ProbeKind::tcp_syn ? payload_of(data) : data;
  return error;
}

base::Result<Endpoint> route_to(const Endpoint& to) {
  const std::string address = address_text(to);
  const std::string hint = "Check the route with: ip route get " + address;
  const base::OwnedFd fd(socket(to.family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) {
    return base::errno_error("open", "a socket", errno);
  }
  Endpoint probed = to;
  // Any port: nothing is sent.
  probed.port = 9;
  SocketAddress target{};
  socklen_t length = to_socket_address(probed, target);
  if (connect(fd.get(), &target.any, length) != 0) {
    switch (errno) {
      case ENETUNREACH:
        return base::Error{"probe", address, "no route to it", hint};
      case EHOSTUNREACH:
        return base::Error{"probe", address, "the route to it says unreachable", hint};
      case EINVAL:
        return base::Error{"probe", address, "the route to it is a blackhole", hint};
      case EACCES:
        return base::Error{"probe", address, "it is a broadcast address, or the route to it says prohibited", hint};
      default:
        return base::errno_error("probe", address, errno, hint);
    }
  }
  SocketAddress local{};
  length = sizeof local;
  if (getsockname(fd.get(), &local.any, &length) != 0) {
    return base::errno_error("read", "the address of a socket", errno);
  }
  Endpoint from = endpoint_of(local);
  from.port = 0;
  return from;
}

}  // namespace stallscope::probe
