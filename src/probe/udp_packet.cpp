// SPDX-License-Identifier: Apache-2.0
#include "probe/udp_packet.h"

#include <algorithm>

#include "probe/wire.h"

namespace stallscope::probe {
namespace {

constexpr std::uint32_t magic = 0x73747363;  // "stsc"
constexpr std::byte udp_version{1};
constexpr std::byte kind_probe{1};
constexpr std::byte kind_answer{2};
constexpr std::size_t version_at = 4;
constexpr std::size_t kind_at = 5;
constexpr std::size_t token_at = 8;
constexpr std::size_t sequence_at = 16;
constexpr std::size_t received_at = 24;
constexpr std::size_t sent_at = 32;

bool has_header(std::span<const std::byte> datagram, std::byte kind) {
  return datagram.size() >= received_at && load_big_endian<std::uint32_t>(datagram) == magic &&
         datagram[version_at] == udp_version && datagram[kind_at] == kind;
}

UdpLabel label_of(std::span<const std::byte> datagram) {
  return {.token = load_big_endian<std::uint64_t>(datagram.subspan(token_at)),
          .sequence = static_cast<std::int64_t>(load_big_endian<std::uint64_t>(datagram.subspan(sequence_at)))};
}

}  // namespace

void build_udp_probe(const UdpLabel& label, std::span<std::byte, udp_packet_bytes> to) {
  std::fill(to.begin(), to.end(), std::byte{0});
  const std::span<std::byte> bytes = to;
  store_big_endian(bytes, magic);
  bytes[version_at] = udp_version;
  bytes[kind_at] = kind_probe;
  store_big_endian(bytes.subspan(token_at), label.token);
  store_big_endian(bytes.subspan(sequence_at), static_cast<std::uint64_t>(label.sequence));
}

void make_udp_answer(std::span<std::byte, udp_packet_bytes> probe, std::int64_t received_ns, std::int64_t sent_ns) {
  const std::span<std::byte> bytes = probe;
  bytes[kind_at] = kind_answer;
  store_big_endian(bytes.subspan(received_at), static_cast<std::uint64_t>(received_ns));
  store_big_endian(bytes.subspan(sent_at), static_cast<std::uint64_t>(sent_ns));
}

bool is_udp_probe(std::span<const std::byte> datagram) {
  return datagram.size() == udp_packet_bytes && has_header(datagram, kind_probe);
}

std::optional<UdpAnswer> parse_udp_answer(std::span<const std::byte> datagram) {
  if (datagram.size() != udp_packet_bytes || !has_header(datagram, kind_answer)) {
    return std::nullopt;
  }
  UdpAnswer answer;
  answer.label = label_of(datagram);
  const auto received_ns = static_cast<std::int64_t>(load_big_endian<std::uint64_t>(datagram.subspan(received_at)));
  const auto sent_ns = static_cast<std::int64_t>(load_big_endian<std::uint64_t>(datagram.subspan(sent_at)));
  if (answer.label.sequence < 0 || received_ns < 0 || sent_ns < received_ns) {
    return std::nullopt;
  }
  answer.far_received_ns = received_ns;
  answer.far_sent_ns = sent_ns;
  return answer;
}

std::optional<UdpLabel> parse_quoted_udp_probe(std::span<const std::byte> payload) {
  if (!has_header(payload, kind_probe)) {
    return std::nullopt;
  }
  return label_of(payload);
}

}  // namespace stallscope::probe
