// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "evidence/records.h"
#include "host/sockets.h"

namespace stallscope::cli {

/// What waits in the sockets of one network namespace.
struct SocketSnapshot {
  std::vector<host::SocketState> sockets;
  std::vector<host::CounterValue> counters;
};

/// `netns_path`: as NetworkNamespace::open takes it; empty for the caller's.
[[nodiscard]] base::Result<SocketSnapshot> look_at_sockets(const std::string& netns_path);

/// Those in which something waits or which dropped something, with their processes; the fullest first, and no more than a report
/// can use.
[[nodiscard]] std::vector<evidence::SocketRecord> sockets_behind(const SocketSnapshot& before, const SocketSnapshot& after);

}  // namespace stallscope::cli
