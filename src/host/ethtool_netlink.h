// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

// Messages of the generic netlink family "ethtool" (Linux 5.6; Documentation/networking/ethtool-netlink.rst). Pure: bytes in,
// values out. Replies come from the kernel, but a program in between (gVisor, a seccomp agent, a fuzzer) may write them as it
// likes.
namespace stallscope::host {

/// ETHTOOL_MSG_RSS_GET and its attributes. Newer than the headers of Debian 12; numbers of the kernel's interface do not change.
inline constexpr std::uint8_t ethtool_msg_rss_get = 38;

struct RssReply {
  std::optional<std::uint32_t> hash_function;
  std::vector<std::uint32_t> table;
  std::vector<std::uint8_t> key;
  /// RXH_XFRM_*. Since Linux 6.8; before, no card had one that the kernel knew of.
  std::optional<std::uint32_t> input_transform;

  friend bool operator==(const RssReply&, const RssReply&) = default;
};

/// Asks for the number of the family `name`.
[[nodiscard]] std::vector<std::byte> family_request(std::uint32_t sequence, std::string_view name);
/// Asks for hash, table and key of a device (its main RSS context).
[[nodiscard]] std::vector<std::byte> rss_request(std::uint16_t family, std::uint32_t sequence, std::string_view device);

/// The answer to the request of that sequence. The kernel's refusal is an error with its errno's text.
[[nodiscard]] base::Result<std::uint16_t> parse_family_reply(std::span<const std::byte> bytes, std::uint32_t sequence);
[[nodiscard]] base::Result<RssReply> parse_rss_reply(std::span<const std::byte> bytes, std::uint32_t sequence,
                                                     std::string_view device);

}  // namespace stallscope::host
