// SPDX-License-Identifier: Apache-2.0
#include "capture/evidence.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "base/units.h"

namespace stallscope::capture {
namespace {

using evidence::Evidence;
using evidence::ProbeRecord;

/// Everything that decides about a receive queue. Echoes of one pair of hosts are one flow whatever their numbers.
ExchangeKey flow_key(const ExchangeKey& key) {
  ExchangeKey flow = key;
  if (key.kind == ExchangeKind::echo) {
    flow.near_port = 0;
    flow.far_port = 0;
  }
  return flow;
}

/// Addresses as text, each made once.
class AddressTexts {
 public:
  const std::string& of(const std::array<std::uint8_t, 16>& address, bool v6) {
    ExchangeKey key;
    key.near = address;
    key.v6 = v6;
    std::string& text = texts_[key];
    if (text.empty()) {
      text = address_text(address, v6);
    }
    return text;
  }

 private:
  std::unordered_map<ExchangeKey, std::string, KeyHash> texts_;
};

evidence::FlowRecord flow_record(const ExchangeKey& flow, std::int64_t id, AddressTexts& texts) {
  evidence::FlowRecord record;
  record.id = id;
  record.kind = flow.kind == ExchangeKind::echo   ? evidence::ProbeKind::icmp_echo
                : flow.kind == ExchangeKind::data ? evidence::ProbeKind::tcp_data
                                                  : evidence::ProbeKind::tcp_syn;
  record.source_address = texts.of(flow.near, flow.v6);
  record.target_address = texts.of(flow.far, flow.v6);
  record.target = record.target_address;
  record.source_port = flow.near_port;
  record.target_port = flow.far_port;
  return record;
}

}  // namespace

std::string address_text(const std::array<std::uint8_t, 16>& address, bool v6) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(v6 ? AF_INET6 : AF_INET, address.data(), text.data(), text.size());
  return text.data();
}

Evidence make_evidence(const std::vector<Observation>& observations, const TrackerCounts& counts,
                       const std::optional<TwoPlaces>& places) {
  Evidence evidence;
  evidence::RunRecord& run = evidence.run;
  const std::int64_t offset_ns = counts.first_ns - base::ns_per_s;
  run.realtime_offset_ns = offset_ns;
  run.start_ns = counts.first_ns - offset_ns;
  run.end_ns = counts.last_ns - offset_ns;
  run.planned_duration_ns = run.end_ns - run.start_ns;
  run.state = "finished";
  std::unordered_map<ExchangeKey, std::int64_t, KeyHash> flows;
  AddressTexts texts;
  bool many_targets = false;
  evidence.probes.reserve(observations.size());
  for (std::size_t at = 0; at < observations.size(); ++at) {
    const Observation& observation = observations[at];
    const ExchangeKey key = flow_key(observation.key);
    const auto [flow, added] = flows.try_emplace(key, static_cast<std::int64_t>(flows.size()) + 1);
    if (added) {
      evidence.flows.push_back(flow_record(key, flow->second, texts));
      many_targets = many_targets || evidence.flows.back().target_address != evidence.flows.front().target_address;
    }
    ProbeRecord probe;
    probe.sequence = static_cast<std::int64_t>(at);
    probe.sent_ns = observation.sent_ns - offset_ns;
    probe.intended_ns = probe.sent_ns;
    probe.transmitted_ns = probe.sent_ns;
    probe.received_ns = observation.answered() ? observation.answered_ns - offset_ns : ProbeRecord::not_received;
    probe.flow_id = flow->second;
    probe.answer = observation.answer;
    if (places && places->far[at]) {
      const Observation& there = *places->far[at];
      probe.far_host_ns = std::max<std::int64_t>(there.rtt_ns(), 0);
      evidence::PacketRecord packet;
      packet.sequence = probe.sequence;
      packet.leg = evidence::PacketLeg::request;
      packet.received_ns = std::clamp(there.sent_ns - offset_ns, probe.sent_ns, probe.received_ns);
      evidence.packets.push_back(packet);
    }
    evidence.probes.push_back(probe);
  }
  if (!evidence.flows.empty() && !many_targets) {
    run.target = evidence.flows.front().target_address;
    run.target_address = run.target;
  } else {
    std::unordered_set<std::string_view> targets;
    for (const evidence::FlowRecord& flow : evidence.flows) {
      targets.insert(flow.target_address);
    }
    run.target = fmt::format("{} hosts", base::format_count(static_cast<std::int64_t>(targets.size())));
  }
  return evidence;
}

}  // namespace stallscope::capture
