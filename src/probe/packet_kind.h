// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "evidence/records.h"
#include "probe/endpoint.h"
#include "probe/probe_session.h"

namespace stallscope::probe {

/// A packet to build.
struct PacketLabel {
  std::int64_t sequence = 0;
  Endpoint from;
  Endpoint to;
  std::int64_t now_ns = 0;
};

/// A packet that carries the marks of a probe of this session. Where it came from is still to be compared with where that went.
struct MarkedPacket {
  std::int64_t sequence = 0;
  AnswerDetails details{};
  /// Ports in the packet: of the target and of ours. 0 where the kind has none in its payload.
  std::uint16_t target_port = 0;
  std::uint16_t source_port = 0;
  /// The far host's clock in ms, of a SYN-ACK that says it.
  std::optional<std::uint32_t> far_timestamp_ms{};
};

/// What differs between the kinds of probes that are one packet: how a probe is built and what answers it. Pure; all packets parsed
/// are hostile input. Does not allocate after it was made.
class PacketKind {
 public:
  virtual ~PacketKind() = default;
  PacketKind(const PacketKind&) = delete;
  PacketKind& operator=(const PacketKind&) = delete;
  PacketKind(PacketKind&&) = delete;
  PacketKind& operator=(PacketKind&&) = delete;

  /// Writes the probe and returns its length; `to` has room for Channel::longest_packet_bytes.
  virtual std::size_t build(const PacketLabel& label, std::span<std::byte> to) const = 0;
  /// `newest` is the newest sequence sent. Nothing for what is not ours; `malformed` tells whether it claimed to be.
  [[nodiscard]] virtual std::optional<MarkedPacket> parse_answer(std::span<const std::byte> payload, std::int64_t newest,
                                                                 bool& malformed) const = 0;
  /// The probe that an ICMP error quotes.
  [[nodiscard]] virtual std::optional<MarkedPacket> parse_quoted(std::span<const std::byte> quoted, std::int64_t newest) const = 0;

 protected:
  PacketKind() = default;
};

/// `kind` is icmp_echo, tcp_syn or udp_echo; `identifier` that of echo requests.
[[nodiscard]] std::unique_ptr<PacketKind> make_packet_kind(evidence::ProbeKind kind, int family, std::uint64_t token,
                                                           std::uint16_t identifier);

}  // namespace stallscope::probe
