// SPDX-License-Identifier: Apache-2.0
// Any bytes as a packet: the first byte chooses the link layer. What is decoded must point into the packet.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "capture/decode.h"

namespace stallscope::capture {
namespace {

constexpr std::array<std::uint32_t, 10> links = {
    link_type::ethernet, link_type::null_loopback, link_type::raw_ip,         link_type::loop,    link_type::linux_cooked,
    link_type::ipv4,     link_type::ipv6,          link_type::linux_cooked_2, link_type::dlt_raw, 4'711};

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

}  // namespace
}  // namespace stallscope::capture

// NOLINTNEXTLINE(readability-identifier-naming): the name libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stallscope::capture;
  if (size == 0) {
    return 0;
  }
  // A copy of just this size, so that the sanitizer sees a byte too many.
  const std::vector<std::uint8_t> packet(data + 1, data + size);
  Decoded decoded;
  decode(packet, links[data[0] % links.size()], decoded);
  require(decoded.ip_count <= most_ip_headers);
  require(decoded.transport == Transport::none || decoded.ip_count > 0);
  const std::uint8_t* const end = packet.data() + packet.size();
  for (std::size_t at = 0; at < decoded.ip_count; ++at) {
    const IpHeader& ip = decoded.ip[at];
    require(ip.source >= packet.data() && ip.source + ip.address_size() <= end);
    require(ip.destination >= packet.data() && ip.destination + ip.address_size() <= end);
  }
  return 0;
}
