// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "capture/byte_source.h"
#include "capture/packet.h"

namespace stallscope::capture {

/// libpcap's MAXIMUM_SNAPLEN: a record that claims more is damaged, whatever its file's snap length says.
inline constexpr std::uint32_t most_packet_bytes = 262'144;
/// A block of pcapng that holds a packet is no longer than this; comments take the rest.
inline constexpr std::uint32_t most_block_bytes = 1U << 24U;
/// Interfaces that are remembered, over all sections of a file.
inline constexpr std::size_t most_interfaces = 1U << 16U;

/// Reads pcap (draft-ietf-opsawg-pcap: microseconds and nanoseconds, either byte order) or pcapng (draft-ietf-opsawg-pcapng), which
/// the first bytes tell. An error says what the bytes are instead.
[[nodiscard]] base::Result<std::unique_ptr<PacketSource>> read_packets(std::unique_ptr<ByteSource> bytes, const std::string& name);

/// The same of a file: see open_bytes().
[[nodiscard]] base::Result<std::unique_ptr<PacketSource>> open_capture(const std::string& path);

}  // namespace stallscope::capture
