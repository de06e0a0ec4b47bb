// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "capture/decode.h"
#include "capture/exchange.h"
#include "capture/packet.h"

// What a packet says about exchanges, without its bytes: those are only there until the next ones are read.
namespace stallscope::capture {

/// What is needed of a TCP packet.
struct Segment {
  std::int64_t time_ns = 0;
  std::uint32_t packet = 0;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgement = 0;
  std::uint32_t payload_bytes = 0;
  std::uint32_t timestamp = 0;
  std::uint32_t timestamp_echo = 0;
  std::uint8_t flags = 0;
  std::uint8_t hops_left = 0;
  bool has_timestamps = false;
  /// Its sender is the key's `near`.
  bool from_near = false;
};

/// What a packet is to be taken for, with all that pairing needs of it.
struct PacketFacts {
  enum class Kind : std::uint8_t { request, answer, segment };

  /// Of a segment: connection_key().
  ExchangeKey key;
  Segment segment;
  std::uint16_t queued_ticks = 0;
  Kind kind = Kind::request;
  evidence::AnswerKind answer = evidence::AnswerKind::none;
};

/// The same for both directions; says in `from_near` which one it is.
[[nodiscard]] ExchangeKey connection_key(const ExchangeKey& directed, bool& from_near);

/// Takes from packets what is needed of them, and counts what they are. In their order in the capture.
class FactReader {
 public:
  /// Whether there is something to pair. If not, `facts` is of no use; any content that it had before will do.
  [[nodiscard]] bool read(const Packet& packet, const Decoded& decoded, PacketFacts& facts);
  [[nodiscard]] const PacketCounts& counts() const { return counts_; }

 private:
  /// Returns by how much the packet is older than what came before it, in Observation's ticks.
  std::uint16_t count(const Packet& packet, const Decoded& decoded);
  /// The part of read() that is for what neither asks nor answers a handshake.
  [[gnu::noinline]] bool read_segment(const Decoded& decoded, PacketFacts& facts);
  static void take_tcp(const Decoded& decoded, PacketFacts& facts);
  static void take_echo(const Decoded& decoded, PacketFacts& facts);

  PacketCounts counts_;
  bool data_seen_ = false;
};

}  // namespace stallscope::capture
