// SPDX-License-Identifier: Apache-2.0
#include "probe/channel.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "probe/packet_kind.h"
#include "probe/test_netns.h"

namespace stallscope::probe {
namespace {

using evidence::ProbeKind;

/// What one echo request on loopback told of itself.
struct Seen {
  PacketStamps received;
  PacketStamps transmitted;
};

Seen echo_once(const ChannelOptions& options) {
  constexpr int patience_ms = 10'000;
  base::Result<Channel> channel = Channel::open(options);
  if (!channel) {
    throw std::runtime_error(channel.error().message());
  }
  const std::unique_ptr<PacketKind> kind = make_packet_kind(ProbeKind::icmp_echo, AF_INET, 1, channel->identifier());
  Endpoint loopback;
  loopback.family = AF_INET;
  loopback.address = {std::byte{127}, std::byte{0}, std::byte{0}, std::byte{1}};
  const PacketLabel label{.sequence = 0, .from = loopback, .to = loopback, .now_ns = base::monotonic_ns()};
  channel->add(kind->build(label, channel->next_packet()), loopback, label.sequence);
  int error_number = 0;
  if (channel->send(0, error_number) != 1) {
    throw std::runtime_error("an echo request was not sent");
  }
  Seen seen;
  while (!seen.received.any() || !seen.transmitted.any()) {
    pollfd polled{channel->fd(), POLLIN, 0};
    if (poll(&polled, 1, patience_ms) <= 0) {
      break;
    }
    for (const ReceivedPacket& packet : channel->receive()) {
      seen.received = packet.stamps;
    }
    bool more = true;
    while (more) {
      for (const QueuedError& error : channel->receive_errors(more)) {
        seen.transmitted = error.transmitted ? error.transmitted->stamps : seen.transmitted;
      }
    }
  }
  return seen;
}

/// Loopback stamps nothing in hardware: to have asked for it must cost none of the kernel's timestamps.
TEST(Channel, AsksForACardsTimestampsBesideTheKernels) {
  const TestNetns netns;
  for (const bool hardware : {false, true}) {
    netns.run([&] {
      ChannelOptions options;
      options.hardware_receive_timestamps = hardware;
      options.hardware_transmit_timestamps = hardware;
      const Seen seen = echo_once(options);
      ASSERT_TRUE(seen.received.software_ns) << hardware;
      ASSERT_TRUE(seen.transmitted.software_ns) << hardware;
      EXPECT_LE(*seen.transmitted.software_ns, *seen.received.software_ns);
      EXPECT_FALSE(seen.received.hardware_ns);
      EXPECT_FALSE(seen.transmitted.hardware_ns);
    });
  }
}

}  // namespace
}  // namespace stallscope::probe
