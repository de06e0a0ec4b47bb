// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "probe/channel.h"
#include "probe/connections.h"
#include "probe/netns.h"
#include "probe/packet_kind.h"
#include "probe/phc.h"
#include "probe/probe_session.h"
#include "probe/prober.h"
#include "probe/resent_answer.h"
#include "probe/source_ports.h"

// Between Prober, which sets it up, and ProberRun, which uses it.
namespace stallscope::probe {

/// A channel, the kind of packets that go by it, and what is known of the packets in its batch.
struct Link {
  Channel channel;
  std::unique_ptr<PacketKind> kind;
  struct Pending {
    DueProbe probe;
    std::int64_t flow_id = 0;
  };
  std::array<Pending, Channel::batch_size> pending{};
  /// The last time it was known to hold nothing.
  std::int64_t seen_empty_ns = 0;
};

struct TargetState {
  Endpoint from;
  /// The links its probes take in turn; none where they are connections.
  std::size_t first_link = 0;
  std::size_t link_count = 0;
  /// Among the targets of raw TCP.
  std::size_t tcp_index = 0;
  std::int64_t first_flow_id = 1;
  ResentAnswers resent;
  std::string http_request;
};

struct Prober::State {
  explicit State(ProberOptions given, const ProbeSchedule& plan, const SessionLimits& limits)
      : options(std::move(given)), schedule(plan), session(plan, limits) {}

  ProberOptions options;
  ProbeSchedule schedule;
  ProbeSession session;
  std::uint64_t token = 0;
  /// Where to probe from, if not the caller's.
  std::shared_ptr<NetworkNamespace> netns;
  std::vector<TargetState> targets;
  std::vector<Link> links;
  std::optional<SourcePorts> tcp_ports;
  std::optional<Connections> connections;
  /// Where a card's timestamps can be used.
  std::optional<PhcClock> phc;
  std::vector<evidence::GapRecord> gaps;

  [[nodiscard]] std::size_t target_of(std::int64_t sequence) const {
    return static_cast<std::size_t>(sequence % schedule.target_count);
  }
};

}  // namespace stallscope::probe
