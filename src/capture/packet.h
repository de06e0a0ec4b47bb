// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "capture/bytes.h"

namespace stallscope::capture {

/// Link types of https://www.tcpdump.org/linktypes.html that are decoded.
namespace link_type {
inline constexpr std::uint32_t null_loopback = 0;
inline constexpr std::uint32_t ethernet = 1;
/// What old libpcap writes for raw IP (DLT_RAW of Linux and of OpenBSD).
inline constexpr std::uint32_t dlt_raw = 12;
inline constexpr std::uint32_t dlt_raw_openbsd = 14;
inline constexpr std::uint32_t raw_ip = 101;
inline constexpr std::uint32_t loop = 108;
inline constexpr std::uint32_t linux_cooked = 113;
inline constexpr std::uint32_t ipv4 = 228;
inline constexpr std::uint32_t ipv6 = 229;
inline constexpr std::uint32_t linux_cooked_2 = 276;
}  // namespace link_type

/// A packet as a file or an interface gave it. The bytes are valid until the next call to the source.
struct Packet {
  /// Since 1970, UTC, by the clock of the host that captured.
  std::int64_t time_ns = 0;
  Bytes data;
  /// What it had on the wire; more than data.size() where the capture cut it.
  std::uint32_t wire_size = 0;
  std::uint32_t link = link_type::ethernet;
  /// Index into PacketSource::interfaces().
  std::uint32_t interface = 0;
  /// Its place in the capture, from 1: Wireshark's frame.number. 0: not known.
  std::uint32_t number = 0;
};

struct Interface {
  /// Empty: the file does not say.
  std::string name;
  std::uint32_t link = link_type::ethernet;
  std::uint32_t snap_length = 0;
};

/// How far a source is, in bytes of the file as it is stored.
struct Progress {
  std::int64_t read_bytes = 0;
  /// Nothing: a pipe or an interface, which have no end.
  std::optional<std::int64_t> total_bytes;
};

/// What a source had to leave out. None of it ends the reading but `damage`.
struct SourceTrouble {
  /// Packets without a time (pcapng's simple packet block), or of an interface that the file does not describe.
  std::int64_t skipped_count = 0;
  /// Dropped by the kernel or the network card before they were captured, as far as file or kernel say.
  std::int64_t dropped_count = 0;
  /// The last packet is cut off: the recorder was killed, or still writes.
  bool truncated = false;
  /// Why nothing was read from some place on. Empty: all was read.
  std::string damage;
};

/// Where packets come from. Not thread-safe.
class PacketSource {
 public:
  PacketSource() = default;
  PacketSource(const PacketSource&) = delete;
  PacketSource& operator=(const PacketSource&) = delete;
  PacketSource(PacketSource&&) = delete;
  PacketSource& operator=(PacketSource&&) = delete;
  virtual ~PacketSource() = default;

  /// Fills the front of `batch`; returns how many. 0: the end, or (of a live source) nothing came for a while and ended() is false.
  /// Errors are those of reading; bytes that make no sense are no error but SourceTrouble::damage, and the end.
  [[nodiscard]] virtual base::Result<std::size_t> next(std::span<Packet> batch) = 0;
  [[nodiscard]] virtual bool ended() const = 0;
  [[nodiscard]] virtual const std::vector<Interface>& interfaces() const = 0;
  [[nodiscard]] virtual Progress progress() const = 0;
  [[nodiscard]] virtual const SourceTrouble& trouble() const = 0;
};

}  // namespace stallscope::capture
