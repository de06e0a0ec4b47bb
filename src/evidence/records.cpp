// SPDX-License-Identifier: Apache-2.0
#include "evidence/records.h"

#include <algorithm>
#include <string_view>

namespace stallscope::evidence {
namespace {

struct WaitModeNames {
  std::string_view id;
  std::string_view title;
};
// In the order of WaitMode.
constexpr std::array<WaitModeNames, all_wait_modes.size()> wait_mode_names = {{
    {"hard_irqs_off", "hard IRQs off"},
    {"vcpu_stolen", "virtual CPU not running"},
    {"softirq_vector", "another softirq vector"},
    {"bh_off", "bottom halves off"},
    {"softirq_delayed", "softirq not served"},
    {"ksoftirqd_delayed", "ksoftirqd kept waiting"},
    {"napi_thread_delayed", "NAPI thread kept waiting"},
    {"net_rx_work", "long NET_RX work"},
    {"napi_budget", "NAPI budget exhausted"},
}};

// In the order of ServedBy.
constexpr std::array<std::string_view, all_served_by.size()> served_by_ids = {"unknown", "task", "ksoftirqd", "napi_thread",
                                                                              "idle"};

// In the order of PacketLeg.
constexpr std::array<std::string_view, all_packet_legs.size()> packet_leg_ids = {"request", "reply"};

// In the order of ProbeKind.
constexpr std::array<std::string_view, all_probe_kinds.size()> probe_kind_ids = {"icmp_echo", "tcp_syn",  "tcp_connect",
                                                                                 "udp_echo",  "http_get", "tcp_data"};

// In the order of AnswerKind.
constexpr std::array<std::string_view, all_answer_kinds.size()> answer_kind_ids = {
    "none", "echo_reply", "syn_ack", "resent_syn_ack", "reset", "udp_answer", "http_response", "tcp_ack"};

// include/linux/interrupt.h; the order has not changed since IRQ_POLL was renamed from BLOCK_IOPOLL in 4.5.
constexpr std::array<std::string_view, 10> softirq_vector_names = {"HI",       "TIMER",   "NET_TX", "NET_RX",  "BLOCK",
                                                                   "IRQ_POLL", "TASKLET", "SCHED",  "HRTIMER", "RCU"};

template <typename All, typename IdOf>
auto find_by_id(const All& all, IdOf id_of, std::string_view id) -> std::optional<typename All::value_type> {
  const auto* const found = std::find_if(all.begin(), all.end(), [&](auto value) { return id_of(value) == id; });
  return found == all.end() ? std::nullopt : std::optional(*found);
}

}  // namespace

std::string_view wait_mode_title(WaitMode mode) {
  return wait_mode_names.at(static_cast<std::size_t>(mode)).title;
}

std::string_view wait_mode_id(WaitMode mode) {
  return wait_mode_names.at(static_cast<std::size_t>(mode)).id;
}

std::optional<WaitMode> wait_mode_from_id(std::string_view id) {
  return find_by_id(all_wait_modes, wait_mode_id, id);
}

std::string_view softirq_vector_name(std::int32_t vector) {
  const auto index = static_cast<std::size_t>(vector);
  return vector >= 0 && index < softirq_vector_names.size() ? softirq_vector_names.at(index) : "?";
}

std::string_view served_by_id(ServedBy context) {
  return served_by_ids.at(static_cast<std::size_t>(context));
}

std::optional<ServedBy> served_by_from_id(std::string_view id) {
  return find_by_id(all_served_by, served_by_id, id);
}

std::string_view packet_leg_id(PacketLeg leg) {
  return packet_leg_ids.at(static_cast<std::size_t>(leg));
}

std::optional<PacketLeg> packet_leg_from_id(std::string_view id) {
  return find_by_id(all_packet_legs, packet_leg_id, id);
}

std::string_view probe_kind_id(ProbeKind kind) {
  return probe_kind_ids.at(static_cast<std::size_t>(kind));
}

std::optional<ProbeKind> probe_kind_from_id(std::string_view id) {
  return find_by_id(all_probe_kinds, probe_kind_id, id);
}

std::string_view answer_kind_id(AnswerKind kind) {
  return answer_kind_ids.at(static_cast<std::size_t>(kind));
}

std::optional<AnswerKind> answer_kind_from_id(std::string_view id) {
  return find_by_id(all_answer_kinds, answer_kind_id, id);
}

}  // namespace stallscope::evidence
