// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "census/census.h"

namespace stallscope::cli {

struct CensusTextOptions {
  /// Rows of each table; the rest is counted.
  std::size_t rows = 10;
  /// List every dying memory cgroup.
  bool each = false;
};

[[nodiscard]] std::string census_text(const census::CensusResult& result, const CensusTextOptions& options);

/// One JSON object (docs/json.md); `each` adds every memory cgroup.
[[nodiscard]] std::string census_json(const census::CensusResult& result, bool each, bool one_line);
/// A line for each memory cgroup, below a heading. RFC 4180; times and sizes as whole numbers, empty where not known.
[[nodiscard]] std::string census_csv(const census::CensusResult& result);

/// What one look of `--watch` prints: one line. `before` is the look before, or nullptr.
[[nodiscard]] std::string census_watch_line(const census::CensusResult* before, const census::CensusResult& now);
[[nodiscard]] std::string census_watch_heading();

/// "/dev/shm/pins (tmpfs 0:27)"
[[nodiscard]] std::string pinning_file_title(const census::PinningFile& file);

}  // namespace stallscope::cli
