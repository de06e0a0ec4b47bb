// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "capture/packet.h"

// What libpcap does for us: filter expressions (pcap-filter(7)) and capturing from an interface, which on Linux is a ring of
// TPACKET_V3. A static build has neither, and says so.
namespace stallscope::capture {

/// Decides about packets by an expression. It is compiled for each link type that comes.
class PacketFilter {
 public:
  /// Refuses what is no expression, and names why.
  [[nodiscard]] static base::Result<PacketFilter> make(const std::string& expression);
  PacketFilter(PacketFilter&&) noexcept;
  PacketFilter& operator=(PacketFilter&&) noexcept;
  PacketFilter(const PacketFilter&) = delete;
  PacketFilter& operator=(const PacketFilter&) = delete;
  ~PacketFilter();

  /// Packets of a link type that the expression makes no sense for do not match.
  [[nodiscard]] bool matches(const Packet& packet);

 private:
  class Program;
  explicit PacketFilter(std::string expression);
  std::string expression_;
  std::map<std::uint32_t, std::unique_ptr<Program>> programs_;
};

/// Captures what passes an interface ("any": all of them). Needs CAP_NET_RAW. next() blocks for 100 ms at most.
[[nodiscard]] base::Result<std::unique_ptr<PacketSource>> open_interface(const std::string& name, const std::string& filter);

}  // namespace stallscope::capture
