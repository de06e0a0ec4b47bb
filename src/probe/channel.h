// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "evidence/records.h"
#include "probe/endpoint.h"
#include "probe/packet_stamps.h"
#include "probe/source_ports.h"
#include "probe/tcp_packet.h"

namespace stallscope::probe {

struct ChannelOptions {
  /// icmp_echo, tcp_syn or udp_echo.
  evidence::ProbeKind kind = evidence::ProbeKind::icmp_echo;
  int family = AF_INET;
  /// UDP: the port to send from; 0: the kernel chooses one.
  std::uint16_t udp_source_port = 0;
  /// TCP: where answers are received.
  PortRange tcp_source_ports = default_source_ports;
  /// ICMP: the identifier of every probe; nothing: a random one.
  std::optional<std::uint16_t> icmp_identifier;
  /// Ask the kernel when each packet left (SOF_TIMESTAMPING_TX_SOFTWARE).
  bool transmit_timestamps = true;
  /// Ask for the network card's timestamps, too, of what is received and of what is sent.
  bool hardware_receive_timestamps = false;
  bool hardware_transmit_timestamps = false;
};

/// A packet that came. The bytes are valid until the next receive.
struct ReceivedPacket {
  /// An ICMP message, a TCP segment or a UDP payload; empty where the IP header was malformed.
  std::span<const std::byte> payload;
  /// Without a port on raw sockets.
  Endpoint from;
  /// Of its reception.
  PacketStamps stamps;
  bool truncated = false;
};

/// From the socket's error queue.
struct QueuedError {
  /// A packet has left: the kernel's transmit timestamp or the card's, each in a message of its own.
  struct Transmitted {
    std::int64_t sequence = 0;
    PacketStamps stamps;
  };
  std::optional<Transmitted> transmitted;
  /// Otherwise: an ICMP error, who reported it, and what it quotes of a packet, from its ICMP, TCP or UDP payload on.
  std::uint8_t type = 0;
  std::uint8_t code = 0;
  Endpoint reporter;
  std::span<const std::byte> quoted;
};

/// One non-blocking socket by which the probes of one kind and address family go to all their targets and their answers come back.
/// Other traffic is filtered in the kernel. Sends and receives in batches. No function but open() allocates. Not thread-safe.
class Channel {
 public:
  static constexpr std::size_t batch_size = 64;
  static constexpr std::size_t longest_packet_bytes = longest_syn_packet_bytes;

  /// In the calling thread's network namespace. ICMP: a raw socket where that is permitted, else a ping socket. TCP
  /// needs CAP_NET_RAW.
  [[nodiscard]] static base::Result<Channel> open(const ChannelOptions& options);

  /// Whether the calling thread may open raw sockets.
  [[nodiscard]] static bool raw_permitted();

  Channel(Channel&&) noexcept;
  Channel& operator=(Channel&&) noexcept;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  ~Channel();

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] evidence::ProbeKind kind() const { return options_.kind; }
  [[nodiscard]] int family() const { return options_.family; }
  /// Of ICMP, in host order: the identifier of every probe.
  [[nodiscard]] std::uint16_t identifier() const { return identifier_; }
  /// Of UDP, in host order: the port it sends from.
  [[nodiscard]] std::uint16_t source_port() const { return source_port_; }
  /// Whether it is a raw socket.
  [[nodiscard]] bool is_raw() const { return raw_; }

  /// Where to write the next packet of the batch.
  [[nodiscard]] std::span<std::byte> next_packet();
  /// Adds what was written to the batch, which must not be full.
  void add(std::size_t packet_bytes, const Endpoint& to, std::int64_t sequence);
  [[nodiscard]] std::size_t batched() const { return batched_; }
  /// The sequence of a packet of the batch.
  [[nodiscard]] std::int64_t batched_sequence(std::size_t index) const;
  /// Sends the batch from `first` on and returns how many packets left; fewer than there are means that the next one failed, with
  /// `error_number`. Whatever an ICMP error about an earlier packet made fail can be sent again.
  std::size_t send(std::size_t first, int& error_number);
  void clear_batch() { batched_ = 0; }

  /// The packets that have arrived, up to batch_size; empty when there are none.
  [[nodiscard]] std::span<const ReceivedPacket> receive();
  /// What the error queue holds, up to batch_size; empty when there is nothing. Foreign entries are left out, so ask again until
  /// `more` is false.
  [[nodiscard]] std::span<const QueuedError> receive_errors(bool& more);
  /// Packets the kernel dropped so far because the receive buffer was full (SO_RXQ_OVFL), as of the last one received.
  [[nodiscard]] std::uint32_t dropped() const { return dropped_; }

 private:
  struct Buffers;

  Channel(base::OwnedFd fd, const ChannelOptions& options, bool raw);
  void read_control(msghdr& header, ReceivedPacket& packet);
  [[nodiscard]] std::optional<QueuedError> read_error(msghdr& header, std::span<const std::byte> data) const;
  [[nodiscard]] std::span<const std::byte> payload_of(std::span<const std::byte> data) const;
  void start_timestamps();

  base::OwnedFd fd_;
  ChannelOptions options_;
  bool raw_ = false;
  std::uint16_t identifier_ = 0;
  std::uint16_t source_port_ = 0;
  std::uint32_t dropped_ = 0;
  std::size_t batched_ = 0;
  /// The kernel numbers the packets of a socket; sequences by that number, as a ring.
  std::vector<std::int64_t> sequences_by_key_;
  std::uint32_t next_key_ = 0;
  std::unique_ptr<Buffers> buffers_;
};

/// The local address that routing picks for packets to `to`; the error tells: no route, prohibited, a broadcast address.
[[nodiscard]] base::Result<Endpoint> route_to(const Endpoint& to);

}  // namespace stallscope::probe
