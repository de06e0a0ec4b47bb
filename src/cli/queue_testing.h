// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/units.h"
#include "diagnose/target_shapes.h"
#include "evidence/records.h"
#include "rss/hash_key.h"
#include "rss/testing.h"

// For tests: flows of which one receive queue of four stalls, by rss::verification_key.
namespace stallscope::cli::queue_testing {

inline constexpr std::int32_t queue_count = 4;
inline constexpr std::int64_t prompt_ns = 200'000;
inline constexpr std::int64_t stall_ms = 60;

inline rss::QueueMap map_of_key(const std::vector<std::uint8_t>& key) {
  return *rss::QueueMap::make(rss::device_with_key(key, queue_count, rss::fields_addresses | rss::fields_ports));
}

inline rss::QueueMap wrong_map() {
  std::vector<std::uint8_t> key = rss::verification_key;
  std::reverse(key.begin(), key.end());
  return map_of_key(key);
}

inline std::uint32_t queue_of_port(std::uint16_t port, bool answers = false) {
  const rss::Flow flow = rss::tcp_flow("10.0.1.1", port, "10.0.1.2", 443);
  return *map_of_key(rss::verification_key).queue_of(answers ? flow.reply() : flow);
}

/// A SYN each millisecond for `seconds`, from `port_count` ports in turn; `holds` says which ports stall, for 60 ms of each second.
inline evidence::Evidence syns(std::int64_t seconds, std::int64_t port_count, const std::function<bool(std::uint16_t)>& holds) {
  constexpr std::int64_t in_second = 1'000;
  evidence::Evidence evidence;
  evidence.run.end_ns = (seconds + 1) * base::ns_per_s;
  for (std::int64_t number = 0; number < port_count; ++number) {
    evidence.flows.push_back({number + 1, evidence::ProbeKind::tcp_syn, "10.0.1.2", "10.0.1.1",
                              static_cast<std::uint16_t>(30'000 + number), "10.0.1.2", 443});
  }
  for (std::int64_t ms = 0; ms < seconds * in_second; ++ms) {
    const evidence::FlowRecord& flow = evidence.flows[static_cast<std::size_t>(ms % port_count)];
    evidence::ProbeRecord probe;
    probe.sequence = ms;
    probe.flow_id = flow.id;
    probe.sent_ns = base::ns_per_s + ms * base::ns_per_ms;
    probe.intended_ns = probe.sent_ns;
    probe.transmitted_ns = probe.sent_ns;
    const std::int64_t into_stall_ms = ms % in_second - in_second / 2;
    const bool held = into_stall_ms >= 0 && into_stall_ms < stall_ms && holds(flow.source_port);
    probe.received_ns = probe.sent_ns + prompt_ns + (held ? (stall_ms - into_stall_ms) * base::ns_per_ms : 0);
    probe.answer = evidence::AnswerKind::syn_ack;
    evidence.probes.push_back(probe);
  }
  return evidence;
}

/// 32 connections that send all the time; those of `queue` stall in each of three seconds.
inline evidence::Evidence busy_connections(std::uint32_t queue, bool answers = false) {
  return syns(3, 32, [&](std::uint16_t port) { return queue_of_port(port, answers) == queue; });
}

inline diagnose::TargetShape target_of(const evidence::Evidence& evidence) {
  return diagnose::shapes_of(evidence).front();
}

}  // namespace stallscope::cli::queue_testing
