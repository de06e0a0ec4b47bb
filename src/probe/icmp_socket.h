// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/owned_fd.h"
#include "base/result.h"
#include "probe/echo_packet.h"
#include "probe/netns.h"

namespace stallscope::probe {

enum class IcmpSocketKind : std::uint8_t {
  /// SOCK_RAW: needs CAP_NET_RAW. We choose the identifier.
  raw,
  /// SOCK_DGRAM, "ping socket" (Linux 3.0, commit c319b4d76b9e): needs a group in net.ipv4.ping_group_range. The kernel chooses the
  /// identifier.
  ping,
};

/// A message from the socket. The bytes are valid until the next receive.
struct ReceivedIcmp {
  /// ICMP message without IP header; empty where the IP header was malformed.
  std::span<const std::byte> icmp;
  /// Kernel receive timestamp, CLOCK_REALTIME (SO_TIMESTAMPNS).
  std::optional<std::int64_t> received_realtime_ns;
  bool truncated = false;
};

/// An ICMP error about a packet that this socket may have sent.
struct ReceivedIcmpError {
  std::uint8_t type = 0;
  std::uint8_t code = 0;
  /// Who reported it.
  in_addr reporter{};
  /// The ICMP message it quotes, as far as it quotes it.
  std::span<const std::byte> quoted;
};

/// A non-blocking ICMP socket connected to one host, with kernel receive timestamps and the error queue (IP_RECVERR) on. No
/// function but open() allocates. Not thread-safe.
class IcmpSocket {
 public:
  static constexpr std::size_t batch_size = 64;

  /// Opens it in `netns`, or in the caller's namespace where that is null. A raw socket where that is permitted, else a ping
  /// socket. The error tells: neither permitted, no route, a broadcast address.
  [[nodiscard]] static base::Result<IcmpSocket> open(in_addr target, const NetworkNamespace* netns);

  IcmpSocket(IcmpSocket&&) noexcept;
  IcmpSocket& operator=(IcmpSocket&&) noexcept;
  IcmpSocket(const IcmpSocket&) = delete;
  IcmpSocket& operator=(const IcmpSocket&) = delete;
  ~IcmpSocket();

  [[nodiscard]] IcmpSocketKind kind() const { return kind_; }
  /// In host byte order: htons(identifier) is on the wire.
  [[nodiscard]] std::uint16_t identifier() const { return identifier_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

  /// 0, or the errno of send(2). An error may be that of an earlier packet which an ICMP error told of (then receive_error has it)
  /// and this packet was not sent.
  [[nodiscard]] int send(const EchoPacket& packet) const;
  /// The messages that have arrived, up to batch_size; empty when there are none.
  [[nodiscard]] std::span<const ReceivedIcmp> receive();
  /// The next ICMP error; nothing when there is none.
  [[nodiscard]] std::optional<ReceivedIcmpError> receive_error();
  /// Messages the kernel dropped so far because the receive buffer was full (SO_RXQ_OVFL), as of the last message received.
  [[nodiscard]] std::uint32_t dropped() const { return dropped_; }

 private:
  struct Buffers;

  IcmpSocket(base::OwnedFd fd, IcmpSocketKind kind, std::uint16_t identifier);
  void read_control(msghdr& header, ReceivedIcmp& message);

  base::OwnedFd fd_;
  IcmpSocketKind kind_;
  std::uint16_t identifier_;
  std::uint32_t dropped_ = 0;
  std::unique_ptr<Buffers> buffers_;
};

}  // namespace stallscope::probe
