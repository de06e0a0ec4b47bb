// SPDX-License-Identifier: Apache-2.0
#include "probe/channel_filter.h"

#include "probe/tcp_packet.h"

namespace stallscope::probe {
namespace {

constexpr std::uint32_t drop = 0;
constexpr std::uint32_t accept_all = 0xffffffff;

constexpr sock_filter statement(unsigned code, std::uint32_t value) {
  return {static_cast<std::uint16_t>(code), 0, 0, value};
}

/// Skips as many of the following instructions as the two numbers say.
constexpr sock_filter jump(unsigned code, std::uint32_t value, std::uint8_t if_true, std::uint8_t if_false) {
  return {static_cast<std::uint16_t>(BPF_JMP | BPF_K | code), if_true, if_false, value};
}

/// Loads from the payload of IP: X holds the length of the header, if there is one.
FilterProgram begin(bool ipv6) {
  return {ipv6 ? statement(BPF_LDX | BPF_IMM, 0) : statement(BPF_LDX | BPF_B | BPF_MSH, 0)};
}

void append(FilterProgram& program, std::initializer_list<sock_filter> instructions) {
  program.insert(program.end(), instructions);
}

}  // namespace

FilterProgram echo_reply_filter(std::uint16_t identifier, bool ipv6) {
  constexpr std::uint32_t echo_reply = 0;
  constexpr std::uint32_t echo_reply_ipv6 = 129;
  FilterProgram program = begin(ipv6);
  append(program, {statement(BPF_LD | BPF_B | BPF_IND, 0), jump(BPF_JEQ, ipv6 ? echo_reply_ipv6 : echo_reply, 0, 3),
                   statement(BPF_LD | BPF_H | BPF_IND, 4), jump(BPF_JEQ, identifier, 0, 1), statement(BPF_RET | BPF_K, accept_all),
                   statement(BPF_RET | BPF_K, drop)});
  return program;
}

FilterProgram tcp_answer_filter(PortRange ports, bool ipv6) {
  constexpr std::uint32_t syn_and_reset = 0x06;
  FilterProgram program = begin(ipv6);
  append(program, {statement(BPF_LD | BPF_B | BPF_IND, tcp_flags_at), jump(BPF_JSET, syn_and_reset, 0, 4),
                   statement(BPF_LD | BPF_H | BPF_IND, tcp_to_port_at), jump(BPF_JGE, ports.first, 0, 2),
                   jump(BPF_JGT, ports.last, 1, 0), statement(BPF_RET | BPF_K, accept_all), statement(BPF_RET | BPF_K, drop)});
  return program;
}

}  // namespace stallscope::probe
