// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// How one network device distributes received packets over queues and CPUs, as far as it says so. Numbers are those of the kernel's
// interface (include/uapi/linux/ethtool.h), kept as they were read.
namespace stallscope::rss {

/// Hash functions (ETH_RSS_HASH_*).
inline constexpr std::uint32_t hash_toeplitz = 1U << 0U;
inline constexpr std::uint32_t hash_xor = 1U << 1U;
inline constexpr std::uint32_t hash_crc32 = 1U << 2U;

/// What is done to the fields before they are hashed, so that both directions of a connection come out alike.
enum class InputTransform : std::uint8_t {
  none,
  /// (sip ^ dip, sip ^ dip, sport ^ dport, sport ^ dport): RXH_XFRM_SYM_XOR, Linux 6.8.
  symmetric_xor,
  /// (sip | dip, sip ^ dip, sport | dport, sport ^ dport): RXH_XFRM_SYM_OR_XOR, Linux 6.15 (ecdff893384c). mlx5 hashed like this
  /// long before it could say so (4d20c9f2db83).
  symmetric_or_xor,
};

/// Fields that are hashed (RXH_*).
inline constexpr std::uint64_t field_vlan = 1U << 2U;
inline constexpr std::uint64_t field_ip_source = 1U << 4U;
inline constexpr std::uint64_t field_ip_destination = 1U << 5U;
inline constexpr std::uint64_t field_source_port = 1U << 6U;
inline constexpr std::uint64_t field_destination_port = 1U << 7U;
inline constexpr std::uint64_t fields_addresses = field_ip_source | field_ip_destination;
inline constexpr std::uint64_t fields_ports = field_source_port | field_destination_port;

/// Kinds of packets that a device may hash differently.
enum class PacketKind : std::uint8_t { tcp4, udp4, other4, tcp6, udp6, other6 };
inline constexpr std::array<PacketKind, 6> all_packet_kinds = {PacketKind::tcp4, PacketKind::udp4, PacketKind::other4,
                                                               PacketKind::tcp6, PacketKind::udp6, PacketKind::other6};
/// "tcp4", "udp4", "ip4", ...
[[nodiscard]] std::string_view packet_kind_id(PacketKind kind);

struct QueueCpus {
  std::int32_t queue = 0;
  /// CPUs that RPS moves packets of this queue to; empty: RPS is off, nothing: not known.
  std::optional<std::vector<std::int32_t>> rps_cpus;
  /// The interrupt of the queue and the CPUs it goes to, where that can be told.
  std::optional<std::int32_t> irq;
  std::vector<std::int32_t> irq_cpus;

  friend bool operator==(const QueueCpus&, const QueueCpus&) = default;
};

struct ReceiveQueues {
  std::string device;
  /// "veth", "mlx5_core"; empty: not known.
  std::string driver;
  std::uint64_t netns_inode = 0;
  /// RX queues in use, where the device says so, else those that sysfs lists.
  std::int32_t queue_count = 0;
  std::vector<QueueCpus> queues;

  /// Empty: the device has none or does not give it away.
  std::vector<std::uint8_t> key;
  std::vector<std::uint32_t> table;
  /// Nothing: the device does not say.
  std::optional<std::uint32_t> hash_function;
  std::optional<InputTransform> transform;
  /// By PacketKind. Nothing: not known.
  std::array<std::optional<std::uint64_t>, all_packet_kinds.size()> fields{};
  /// Rules that steer packets past the table (ntuple filters); nothing: not known.
  std::optional<std::int64_t> steering_rule_count;
  /// What could not be read, and what that means; sentences.
  std::vector<std::string> notes;

  [[nodiscard]] std::optional<std::uint64_t> fields_of(PacketKind kind) const { return fields[static_cast<std::size_t>(kind)]; }
};

/// "0-3,8" for CPUs in order; "none" for none.
[[nodiscard]] std::string cpu_list(const std::vector<std::int32_t>& cpus);
/// "addresses and ports", "addresses", "nothing", "source address", ...
[[nodiscard]] std::string fields_text(std::uint64_t fields);
[[nodiscard]] std::string_view transform_id(InputTransform transform);

}  // namespace stallscope::rss
