// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "report/json_parts.h"
#include "rss/receive_queues.h"

namespace stallscope::report {

/// How a device distributes received packets, as a small table and what is missing; each line ended by a line feed. Pure; names are
/// made printable. The key is left out of the text: who knows it can aim at a queue.
[[nodiscard]] std::string render_receive_queues(const rss::ReceiveQueues& queues, std::size_t width);
/// The same and the indirection table. Whether there is a key, not the key.
[[nodiscard]] Json receive_queues_json(const rss::ReceiveQueues& queues);

}  // namespace stallscope::report
