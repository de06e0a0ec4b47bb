// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace stallscope::capture {

/// What is to be written beside the packets of a capture. Both texts are UTF-8; beyond 65,535 bytes they are cut.
struct Annotations {
  /// Of the whole capture.
  std::string summary;
  /// Packet::number, in order; a packet with several comments is there several times.
  std::vector<std::uint32_t> packets;
  /// The comment for the packet with this index. Asked once for each.
  std::function<std::string(std::size_t index)> comment;
};

struct Annotated {
  std::int64_t packet_count = 0;
  std::int64_t comment_count = 0;
};

/// Writes the capture `from` again as pcapng to `to`: blocks of pcapng as they are, with all that they hold, and packets of pcap
/// with their times, each with its comments after those it had. `to` is there whole or not at all, and is never the capture itself.
/// What is damaged or cut off ends it. `interrupted` is asked now and then; true gives up.
[[nodiscard]] base::Result<Annotated> annotate(const std::string& from, const std::string& to, const Annotations& annotations,
                                               const std::function<bool()>& interrupted);

/// Why `from` cannot be annotated into `to`, before any time is spent on it: it can be read only once, or both are one file.
[[nodiscard]] base::Status can_annotate(const std::string& from, const std::string& to);

}  // namespace stallscope::capture
