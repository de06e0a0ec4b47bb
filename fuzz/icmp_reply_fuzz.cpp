// SPDX-License-Identifier: Apache-2.0
// Any bytes as a received packet: through the parsers and into a session.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "probe/echo_packet.h"
#include "probe/echo_session.h"

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
  const ParsedReply parsed = parse_echo_reply(icmp);
  const std::optional<QuotedRequest> quoted = parse_quoted_request(icmp);
  if (!parsed.reply && !quoted) {
    return;
  }
  EchoSession session({.interval_ns = 1, .count = 300}, identifier, token);
  session.begin(0);
  while (const std::optional<DueProbe> probe = session.next_due(299)) {
    session.sent(*probe, 299, 0);
  }
  if (parsed.reply) {
    const bool expected = session.outstanding(*parsed.reply) != nullptr;
    require((session.received(*parsed.reply, 400) == ReplyVerdict::answered) == expected);
    require(!expected || (parsed.reply->label.token == token && parsed.reply->label.identifier == identifier));
    require(session.received(*parsed.reply, 500) == (expected ? ReplyVerdict::duplicate : ReplyVerdict::foreign));
  }
  require(!quoted || !session.is_ours(*quoted) || quoted->identifier == identifier);
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
