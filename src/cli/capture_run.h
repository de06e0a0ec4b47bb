// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "rss/queue_map.h"

namespace stallscope::cli {

struct CaptureRunOptions {
  /// One capture, or two of the same packets: that of who asks, and that of the host it asks.
  std::vector<std::string> files;
  std::string interface;
  std::string filter;
  std::string bundle_path;
  std::string csv_path;
  std::string flows_path;
  std::string plot_path;
  std::string annotate_path;
  /// Of an interface; a file is read to its end.
  std::int64_t duration_ns = 0;
  /// Of the host whose receive queues are meant.
  std::optional<rss::QueueMap> rss_key;
  /// Its address as capture::address_text() writes it. Empty: each host that was asked.
  std::string rss_host;
  bool json = false;
  bool all = false;
};

/// Reads, analyses and prints. Whether anything is wrong.
[[nodiscard]] base::Result<bool> run_capture(const CaptureRunOptions& options);

}  // namespace stallscope::cli
