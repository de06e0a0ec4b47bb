// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "diagnose/rules/rule.h"

// Causes of long NET_RX runs that are told by what the run was doing. Who was interrupted by it is innocent and not named.
namespace stallscope::diagnose::rules {

enum class ProgramHook : std::uint8_t { xdp, tc };

/// A BPF program that ran on the packets being received.
struct ReceiveProgram {
  ProgramHook hook = ProgramHook::xdp;
  /// 16 hexadecimal digits that its instructions determine; what `bpftool prog show tag` takes.
  std::string_view tag;
  /// Empty where it was loaded without one.
  std::string_view name;
};

/// The program of XDP or tc that was running when the stack was taken, innermost frame first; nothing where another kind of program
/// ran or none. Of a program and the subprograms and helpers it called, the program.
[[nodiscard]] std::optional<ReceiveProgram> receive_program(const std::vector<std::string>& frames);

/// "nftables" or "iptables" where rules were being evaluated; empty elsewhere, and where one of them was writing a log.
[[nodiscard]] std::string_view rules_walked(const std::vector<std::string>& frames);

}  // namespace stallscope::diagnose::rules
