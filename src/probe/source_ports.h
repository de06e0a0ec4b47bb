// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace stallscope::probe {

struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  [[nodiscard]] std::size_t size() const { return std::size_t{last} - first + 1; }
  friend bool operator==(const PortRange&, const PortRange&) = default;
};

/// Above the kernel's default range for ports it chooses itself (net.ipv4.ip_local_port_range), so that no connection gets one of
/// them while we probe.
inline constexpr PortRange default_source_ports{61'000, 65'535};

/// Which source port each SYN goes out from. The ports of a target are taken in turn; one is not taken again while its last probe
/// is outstanding, nor for quarantine_ns after that was lost: the far host may still hold a half-open connection of these addresses
/// and ports, and answers at most one SYN of such a pair every 500 ms (net.ipv4.tcp_invalid_ratelimit), which looks like loss.
/// Pure. Allocates in its constructor only.
class SourcePorts {
 public:
  /// With net.ipv4.tcp_synack_retries at its default of 5 a half-open connection lives 63 s.
  static constexpr std::int64_t quarantine_ns = 64'000'000'000;

  /// `in_use`: ports never to be taken, of local sockets.
  SourcePorts(PortRange range, std::size_t target_count, std::span<const std::uint16_t> in_use, std::uint64_t random);

  /// A port for the next SYN to `target`; nothing where all are taken.
  [[nodiscard]] std::optional<std::uint16_t> take(std::size_t target, std::int64_t now_ns);
  /// The SYN from it was answered, so the far host has forgotten it (our kernel resets what it did not open).
  void answered(std::size_t target, std::uint16_t port);
  /// It was not.
  void lost(std::size_t target, std::uint16_t port, std::int64_t now_ns);

  [[nodiscard]] PortRange range() const { return range_; }
  /// Ports that were freed before their time because more than quarantine_capacity were waiting.
  [[nodiscard]] std::int64_t freed_early_count() const { return freed_early_count_; }

 private:
  static constexpr std::size_t quarantine_capacity = 65536;
  struct Quarantined {
    std::size_t index = 0;
    std::int64_t until_ns = 0;
  };

  [[nodiscard]] std::size_t index_of(std::size_t target, std::uint16_t port) const;
  void release(std::int64_t now_ns);
  void free_oldest();

  PortRange range_;
  /// By target and port: whether it is taken.
  std::vector<bool> taken_;
  std::vector<std::uint16_t> next_;
  /// A ring, in order of time.
  std::vector<Quarantined> quarantine_;
  std::size_t quarantine_begin_ = 0;
  std::size_t quarantine_count_ = 0;
  std::int64_t freed_early_count_ = 0;
};

}  // namespace stallscope::probe
