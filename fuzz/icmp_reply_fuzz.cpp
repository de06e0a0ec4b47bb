// SPDX-License-Identifier: Apache-2.0
// Any bytes as a received packet: through the parsers and into a session.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "probe/echo_packet.h"
#include "probe/packet_kind.h"
#include "probe/probe_session.h"

namespace stallscope::probe {
namespace {

constexpr std::uint16_t identifier = 0x4141;
constexpr std::uint64_t token = 0x4242424242424242;

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

void score(std::span<const std::byte> icmp) {
  static const std::unique_ptr<PacketKind> kind = make_packet_kind(evidence::ProbeKind::icmp_echo, AF_INET, token, identifier);
  constexpr std::int64_t count = 300;
  bool malformed = false;
  const std::optional<MarkedPacket> answer = kind->parse_answer(icmp, count - 1, malformed);
  static_cast<void>(kind->parse_quoted(icmp, count - 1));
  if (!answer) {
    return;
  }
  ProbeSession session({.interval_ns = 1, .count = count}, {});
  session.begin(0);
  while (const std::optional<DueProbe> probe = session.next_due(count - 1)) {
    session.sent(*probe, count - 1, 0, 1);
  }
  const bool expected = session.is_outstanding(answer->sequence);
  require((session.received(answer->sequence, 400, answer->details) == ReplyVerdict::answered) == expected);
  require(session.received(answer->sequence, 500, answer->details) == (expected ? ReplyVerdict::duplicate : ReplyVerdict::foreign));
  session.finish();
  require(session.counts().answered + session.counts().lost == session.counts().sent);
}

/// The bytes with a valid checksum, which chance would hardly find.
std::vector<std::byte> with_checksum(std::span<const std::byte> icmp) {
  std::vector<std::byte> fixed(icmp.begin(), icmp.end());
  if (fixed.size() >= 4) {
    fixed[2] = fixed[3] = std::byte{0};
    const std::uint16_t checksum = internet_checksum(fixed);
    fixed[2] = static_cast<std::byte>(checksum >> 8U);
    fixed[3] = static_cast<std::byte>(checksum & 0xffU);
  }
  return fixed;
}

}  // namespace
}  // namespace stallscope::probe

// NOLINTNEXTLINE(readability-identifier-naming): the name libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stallscope::probe;
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  if (const std::optional<std::span<const std::byte>> icmp = icmp_of_ipv4(bytes)) {
    score(*icmp);
  }
  score(bytes);
  score(with_checksum(bytes));
  return 0;
}
