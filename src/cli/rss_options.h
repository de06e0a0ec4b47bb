// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "rss/queue_map.h"

namespace stallscope::cli {

/// What is given of a network card's receive queues, as it was written.
struct RssOptions {
  std::string key;
  std::int32_t queue_count = 0;
  std::string tcp_fields = "sdfn";
};

/// --rss-key, --rss-queues and --rss-fields. `whose`: whose card is meant, as in "the host".
void add_rss_options(CLI::App& command, RssOptions& options, const std::string& whose);

/// Nothing where no key is given.
[[nodiscard]] base::Result<std::optional<rss::QueueMap>> read_rss_options(const RssOptions& given);

}  // namespace stallscope::cli
