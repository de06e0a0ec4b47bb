// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "rss/receive_queues.h"

// A device of which somebody knows the hash key, and that it is set up as devices are by default.
namespace stallscope::rss {

/// Entries of the indirection table. Where the number of queues is a power of two, tables of any size lead to the same queue.
inline constexpr std::size_t default_table_size = 128;

/// Reads a hash key as `ethtool -x` and net.core.netdev_rss_key print it: bytes in hexadecimal, with colons between them or
/// without. Neither the key nor a part of it is in the error.
[[nodiscard]] base::Result<std::vector<std::uint8_t>> parse_key(std::string_view text);

/// Toeplitz hash over `tcp_fields` of TCP and over the addresses of all else, and `queue_count` queues (1 at least) in turn in the
/// table, as drivers fill it unless told otherwise (ethtool_rxfh_indir_default()).
[[nodiscard]] ReceiveQueues device_with_key(std::vector<std::uint8_t> key, std::int32_t queue_count, std::uint64_t tcp_fields);

}  // namespace stallscope::rss
