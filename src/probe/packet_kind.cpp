// SPDX-License-Identifier: Apache-2.0
#include "probe/packet_kind.h"

#include <algorithm>

#include "base/units.h"
#include "probe/echo_packet.h"
#include "probe/tcp_packet.h"
#include "probe/udp_packet.h"

namespace stallscope::probe {
namespace {

using evidence::AnswerKind;
using evidence::ProbeKind;

/// The newest sequence up to `newest` with these lower 16 bits.
std::int64_t unwrap16(std::uint16_t wire_sequence, std::int64_t newest) {
  return newest - static_cast<std::uint16_t>(static_cast<std::uint64_t>(newest) - wire_sequence);
}

class IcmpEcho : public PacketKind {
 public:
  IcmpEcho(IcmpVersion version, std::uint64_t token, std::uint16_t identifier)
      : version_(version), token_(token), identifier_(identifier) {}

  std::size_t build(const PacketLabel& label, std::span<std::byte> to) const override {
    const EchoPacket packet =
        build_echo_request({.identifier = identifier_, .token = token_, .sequence = label.sequence}, version_);
    std::copy(packet.begin(), packet.end(), to.begin());
    return packet.size();
  }

  [[nodiscard]] std::optional<MarkedPacket> parse_answer(std::span<const std::byte> payload, std::int64_t /*newest*/,
                                                         bool& malformed) const override {
    const ParsedReply parsed = parse_echo_reply(payload, version_);
    malformed = !parsed.reply && parsed.fault != EchoFault::not_an_echo_reply;
    if (!parsed.reply || parsed.reply->label.identifier != identifier_ || parsed.reply->label.token != token_ ||
        parsed.reply->wire_sequence != static_cast<std::uint16_t>(parsed.reply->label.sequence)) {
      return std::nullopt;
    }
    return MarkedPacket{.sequence = parsed.reply->label.sequence, .details = {.kind = AnswerKind::echo_reply}};
  }

  [[nodiscard]] std::optional<MarkedPacket> parse_quoted(std::span<const std::byte> quoted, std::int64_t newest) const override {
    const std::optional<QuotedRequest> request = parse_quoted_request(quoted, version_);
    if (!request || request->identifier != identifier_ || request->token.value_or(token_) != token_) {
      return std::nullopt;
    }
    return MarkedPacket{.sequence = unwrap16(request->wire_sequence, newest)};
  }

 private:
  IcmpVersion version_;
  std::uint64_t token_;
  std::uint16_t identifier_;
};

class TcpSyn : public PacketKind {
 public:
  explicit TcpSyn(std::uint64_t token) : token_(token) {}

  std::size_t build(const PacketLabel& label, std::span<std::byte> to) const override {
    return build_syn({.from = label.from,
                      .to = label.to,
                      .initial_sequence = initial_sequence_of(token_, label.sequence),
                      .timestamp = static_cast<std::uint32_t>(label.now_ns / base::ns_per_ms)},
                     to);
  }

  [[nodiscard]] std::optional<MarkedPacket> parse_answer(std::span<const std::byte> payload, std::int64_t newest,
                                                         bool& malformed) const override {
    malformed = false;
    const std::optional<TcpAnswer> answer = parse_tcp_answer(payload);
    if (!answer) {
      return std::nullopt;
    }
    const std::int64_t sequence = sequence_of(answer->initial_sequence, newest);
    if (sequence < 0 || initial_sequence_of(token_, sequence) != answer->initial_sequence) {
      return std::nullopt;
    }
    return MarkedPacket{.sequence = sequence,
                        .details = {.kind = answer->kind == TcpAnswerKind::reset ? AnswerKind::reset : AnswerKind::syn_ack},
                        .target_port = answer->from_port,
                        .source_port = answer->to_port,
                        .far_timestamp_ms = answer->far_timestamp};
  }

  [[nodiscard]] std::optional<MarkedPacket> parse_quoted(std::span<const std::byte> quoted, std::int64_t newest) const override {
    const std::optional<QuotedSegment> segment = parse_quoted_segment(quoted);
    if (!segment) {
      return std::nullopt;
    }
    const std::int64_t sequence = sequence_of(segment->initial_sequence, newest);
    if (sequence < 0 || initial_sequence_of(token_, sequence) != segment->initial_sequence) {
      return std::nullopt;
    }
    return MarkedPacket{.sequence = sequence, .target_port = segment->to_port, .source_port = segment->from_port};
  }

 private:
  std::uint64_t token_;
};

class UdpEcho : public PacketKind {
 public:
  explicit UdpEcho(std::uint64_t token) : token_(token) {}

  std::size_t build(const PacketLabel& label, std::span<std::byte> to) const override {
    build_udp_probe({.token = token_, .sequence = label.sequence}, to.first<udp_packet_bytes>());
    return udp_packet_bytes;
  }

  [[nodiscard]] std::optional<MarkedPacket> parse_answer(std::span<const std::byte> payload, std::int64_t newest,
                                                         bool& malformed) const override {
    const std::optional<UdpAnswer> answer = parse_udp_answer(payload);
    malformed = !answer;
    if (!answer || answer->label.token != token_ || answer->label.sequence > newest) {
      return std::nullopt;
    }
    return MarkedPacket{.sequence = answer->label.sequence,
                        .details = {.kind = AnswerKind::udp_answer, .far_host_ns = answer->far_sent_ns - answer->far_received_ns}};
  }

  [[nodiscard]] std::optional<MarkedPacket> parse_quoted(std::span<const std::byte> quoted, std::int64_t newest) const override {
    const std::optional<UdpLabel> label = parse_quoted_udp_probe(quoted);
    if (!label || label->token != token_ || label->sequence > newest) {
      return std::nullopt;
    }
    return MarkedPacket{.sequence = label->sequence};
  }

 private:
  std::uint64_t token_;
};

}  // namespace

std::unique_ptr<PacketKind> make_packet_kind(ProbeKind kind, int family, std::uint64_t token, std::uint16_t identifier) {
  switch (kind) {
    case ProbeKind::tcp_syn:
      return std::make_unique<TcpSyn>(token);
    case ProbeKind::udp_echo:
      return std::make_unique<UdpEcho>(token);
    default:
      return std::make_unique<IcmpEcho>(family == AF_INET6 ? IcmpVersion::v6 : IcmpVersion::v4, token, identifier);
  }
}

}  // namespace stallscope::probe
