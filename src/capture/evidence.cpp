// SPDX-License-Identifier: Apache-2.0
#include "capture/evidence.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/units.h"
#include "capture/key_numbers.h"

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
    const std::uint32_t number = numbers_.of(key);
    if (number == texts_.size()) {
      texts_.push_back(address_text(address, v6));
    }
    return texts_[number];
  }

 private:
  KeyNumbers numbers_;
  std::vector<std::string> texts_;
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

/// Their numbers are their ids less 1.
std::vector<evidence::FlowRecord> flow_records(const KeyNumbers& flows) {
  std::vector<evidence::FlowRecord> records;
  records.reserve(flows.size());
  AddressTexts texts;
  for (const ExchangeKey& key : flows.keys()) {
    records.push_back(flow_record(key, static_cast<std::int64_t>(records.size()) + 1, texts));
  }
  return records;
}

/// The one host that was asked, or how many there are.
void name_target(const KeyNumbers& flows, Evidence& evidence) {
  KeyNumbers targets;
  for (const ExchangeKey& flow : flows.keys()) {
    ExchangeKey target;
    target.far = flow.far;
    target.v6 = flow.v6;
    static_cast<void>(targets.of(target));
  }
  evidence::RunRecord& run = evidence.run;
  if (targets.size() == 1) {
    run.target = evidence.flows.front().target_address;
    run.target_address = run.target;
  } else {
    run.target = fmt::format("{} hosts", base::format_count(static_cast<std::int64_t>(targets.size())));
  }
}

}  // namespace

std::string address_text(const std::array<std::uint8_t, 16>& address, bool v6) {
  if (!v6) {
    return fmt::format("{}.{}.{}.{}", address[0], address[1], address[2], address[3]);
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(AF_INET6, address.data(), text.data(), text.size());
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
  KeyNumbers flows;
  evidence.probes.reserve(observations.size());
  for (std::size_t at = 0; at < observations.size(); ++at) {
    const Observation& observation = observations[at];
    ProbeRecord probe;
    probe.sequence = static_cast<std::int64_t>(at);
    probe.sent_ns = observation.sent_ns - offset_ns;
    probe.intended_ns = probe.sent_ns;
    probe.transmitted_ns = probe.sent_ns;
    probe.received_ns = observation.answered() ? observation.answered_ns - offset_ns : ProbeRecord::not_received;
    probe.flow_id = std::int64_t{flows.of(flow_key(observation.key))} + 1;
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
  evidence.flows = flow_records(flows);
  name_target(flows, evidence);
  return evidence;
}

}  // namespace stallscope::capture
