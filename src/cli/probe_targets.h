// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "probe/prober.h"

namespace stallscope::cli {

/// What a target without a scheme is probed by.
struct TargetDefaults {
  evidence::ProbeKind kind = evidence::ProbeKind::icmp_echo;
  /// 0: none.
  std::uint16_t port = 0;
};

/// A target as text, not yet looked up.
struct TargetText {
  evidence::ProbeKind kind = evidence::ProbeKind::icmp_echo;
  std::string host;
  std::uint16_t port = 0;
  /// Of HTTP.
  std::string path;
};

/// "10.0.1.2", "[fd00::2]:443", "tcp://db:5432", "udp://10.0.1.2", "icmp://fd00::2", "http://web:8080/health?x=1". Pure.
[[nodiscard]] base::Result<TargetText> parse_target(const std::string& text, const TargetDefaults& defaults);

/// Parses and looks up, in the caller's network namespace. `family`: AF_UNSPEC, or the one to use.
[[nodiscard]] base::Result<std::vector<probe::ProbeTarget>> resolve_targets(const std::vector<std::string>& texts,
                                                                            const TargetDefaults& defaults, int family);

/// The targets that a file names, one a line; empty lines and those that begin with '#' are skipped. "-": standard input.
[[nodiscard]] base::Result<std::vector<std::string>> read_target_file(const std::string& path);

/// "40000" or "40000-40063".
[[nodiscard]] base::Result<probe::PortRange> parse_port_range(const std::string& text);

}  // namespace stallscope::cli
