// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace stallscope::trace::perf {

/// Where a field lies in the raw data of a tracepoint. Of size 0: there is no such field.
struct Field {
  std::uint32_t offset_bytes = 0;
  std::uint32_t size_bytes = 0;

  friend bool operator==(const Field&, const Field&) = default;
};

/// What tracefs says about a tracepoint: the number perf_event_open(2) knows it by, and its fields.
struct TracepointFormat {
  std::uint64_t id = 0;
  std::map<std::string, Field, std::less<>> fields;

  [[nodiscard]] Field field(std::string_view name) const;
};

/// From the text of events/GROUP/NAME/format. Nothing without an ID; lines that make no sense are left out.
[[nodiscard]] std::optional<TracepointFormat> parse_tracepoint_format(std::string_view text);

}  // namespace stallscope::trace::perf
