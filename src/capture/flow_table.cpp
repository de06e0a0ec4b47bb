// SPDX-License-Identifier: Apache-2.0
#include "capture/flow_table.h"

namespace stallscope::capture {
namespace {

/// A flow is not one of the kinds of exchanges; any but none will do.
constexpr ExchangeKind any_kind = ExchangeKind::data;

}  // namespace

FlowTable::FlowTable() : flows_(1) {}

FlowCounts& FlowTable::at(const ExchangeKey& key) {
  const auto found = places_.find(key);
  if (found != places_.end()) {
    return flows_[found->second];
  }
  if (flows_.size() > most_flows) {
    return flows_.front();
  }
  places_.emplace(key, static_cast<std::uint32_t>(flows_.size()));
  flows_.emplace_back().key = key;
  return flows_.back();
}

FlowCounts& FlowTable::of(const ExchangeKey& exchange) {
  ExchangeKey key = exchange;
  key.protocol = protocol::tcp;
  if (exchange.kind == ExchangeKind::echo) {
    key.protocol = exchange.v6 ? protocol::icmp6 : protocol::icmp;
    key.near_port = 0;
    key.far_port = 0;
  }
  key.kind = any_kind;
  return at(key);
}

void FlowTable::add(const Packet& packet, const Decoded& decoded) {
  if (decoded.ip_count == 0) {
    return;
  }
  const IpHeader& ip = decoded.inner();
  ExchangeKey key;
  copy_address(key.near, ip.source, ip.v6);
  copy_address(key.far, ip.destination, ip.v6);
  key.v6 = ip.v6;
  key.protocol = ip.protocol;
  key.kind = any_kind;
  if (decoded.transport == Transport::tcp || decoded.transport == Transport::udp) {
    key.near_port = decoded.source_port;
    key.far_port = decoded.destination_port;
  }
  FlowCounts& flow = at(key);
  ++flow.packet_count;
  flow.byte_count += packet.wire_size;
}

void FlowTable::add_rtt(const Observation& observation) {
  FlowCounts& flow = of(observation.key);
  if (!flow.rtts) {
    flow.rtts = std::make_unique<base::LatencyHistogram>(precision_bits);
  }
  flow.rtts->add(observation.rtt_ns());
}

void FlowTable::add_resent(const ExchangeKey& exchange) {
  ++of(exchange).resent_count;
}

}  // namespace stallscope::capture
