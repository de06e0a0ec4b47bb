// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "probe/echo_packet.h"
#include "probe/endpoint.h"
#include "probe/prober.h"

namespace stallscope::probe {

/// An error about a probe: ICMP's, or this system's.
struct ProbeError {
  bool icmp = false;
  IcmpVersion version = IcmpVersion::v4;
  std::uint8_t type = 0;
  std::uint8_t code = 0;
  int error_number = 0;
  Endpoint reporter{};

  [[nodiscard]] bool same_kind(const ProbeError& other) const;
  [[nodiscard]] std::string text() const;
};

/// How often each kind came, and who reported it last. Does not allocate once it is made; the last of too many kinds stands for all
/// that follow.
class ErrorCounts {
 public:
  ErrorCounts();
  void add(const ProbeError& error);
  [[nodiscard]] std::vector<ProbeErrorCount> all() const;

 private:
  static constexpr std::size_t most_kinds = 16;
  struct Counted {
    ProbeError error;
    std::int64_t count = 0;
  };
  std::vector<Counted> counts_;
};

}  // namespace stallscope::probe
