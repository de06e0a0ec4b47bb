// SPDX-License-Identifier: Apache-2.0
// Any bytes as a received packet of each kind of probe, and as what an ICMP error quotes. The first byte chooses the kind; the rest
// is the packet, once as it is and once with the marks of a probe of this session, which chance would hardly find.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "probe/channel.h"
#include "probe/packet_kind.h"
#include "probe/tcp_packet.h"

namespace stallscope::probe {
namespace {

constexpr std::uint64_t token = 0x4242424242424242;
constexpr std::int64_t newest = 70'000;

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

void parse(const PacketKind& kind, std::span<const std::byte> packet) {
  bool malformed = false;
  const std::optional<MarkedPacket> answer = kind.parse_answer(packet, newest, malformed);
  require(!answer || !malformed);
  require(!answer || answer->details.kind != evidence::AnswerKind::none);
  static_cast<void>(kind.parse_quoted(packet, newest));
}

void parse_with_marks(const PacketKind& kind, std::span<const std::byte> packet) {
  std::array<std::byte, Channel::longest_packet_bytes> probe{};
  Endpoint to;
  to.family = AF_INET6;
  const std::size_t size = kind.build({.sequence = newest - 3, .from = to, .to = to}, probe);
  std::vector<std::byte> mixed(probe.begin(), probe.begin() + static_cast<std::ptrdiff_t>(size));
  // Pairs of position and value.
  for (std::size_t i = 0; i + 1 < packet.size(); i += 2) {
    mixed[std::to_integer<std::size_t>(packet[i]) % mixed.size()] = packet[i + 1];
  }
  parse(kind, mixed);
  parse(kind, std::span(mixed).first(std::min(mixed.size(), packet.size())));
}

}  // namespace
}  // namespace stallscope::probe

// NOLINTNEXTLINE(readability-identifier-naming): the name libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stallscope::probe;
  using stallscope::evidence::ProbeKind;
  if (size == 0) {
    return 0;
  }
  static const std::array kinds = {
      make_packet_kind(ProbeKind::tcp_syn, AF_INET6, token, 0), make_packet_kind(ProbeKind::udp_echo, AF_INET6, token, 0),
      make_packet_kind(ProbeKind::icmp_echo, AF_INET6, token, 7), make_packet_kind(ProbeKind::icmp_echo, AF_INET, token, 7)};
  const PacketKind& kind = *kinds.at(*data % kinds.size());
  const std::span<const std::byte> packet = std::as_bytes(std::span(data, size)).subspan(1);
  parse(kind, packet);
  parse_with_marks(kind, packet);
  constexpr std::uint8_t tcp = 6;
  if (const auto payload = payload_of_ipv4(packet, tcp)) {
    parse(kind, *payload);
  }
  return 0;
}
