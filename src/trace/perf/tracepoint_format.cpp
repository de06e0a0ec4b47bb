// SPDX-License-Identifier: Apache-2.0
#include "trace/perf/tracepoint_format.h"

#include <vector>

#include "base/numbers.h"
#include "base/text.h"

namespace stallscope::trace::perf {
namespace {

/// A record of perf is at most 64 KiB long.
constexpr std::uint32_t raw_limit_bytes = 1U << 16U;

std::string_view without_blanks(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  return first == std::string_view::npos ? std::string_view() : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// "char comm[16]" -> "comm", "unsigned int vec" -> "vec"
std::string_view declared_name(std::string_view declaration) {
  declaration = without_blanks(declaration.substr(0, declaration.find('[')));
  const std::size_t blank = declaration.find_last_of(" \t*");
  return blank == std::string_view::npos ? declaration : declaration.substr(blank + 1);
}

/// "field:unsigned int vec;	offset:8;	size:4;	signed:0;"
void add_field(TracepointFormat& format, std::string_view line) {
  std::string_view name;
  std::optional<std::uint32_t> offset_bytes;
  std::optional<std::uint32_t> size_bytes;
  for (const std::string_view part : base::split(line, ';')) {
    const std::string_view attribute = without_blanks(part);
    const std::size_t colon = attribute.find(':');
    if (colon == std::string_view::npos) {
      continue;
    }
    const std::string_view key = attribute.substr(0, colon);
    const std::string_view value = attribute.substr(colon + 1);
    if (key == "field") {
      name = declared_name(value);
    } else if (key == "offset") {
      offset_bytes = base::parse_number<std::uint32_t>(value);
    } else if (key == "size") {
      size_bytes = base::parse_number<std::uint32_t>(value);
    }
  }
  if (!name.empty() && offset_bytes && size_bytes && *offset_bytes < raw_limit_bytes && *size_bytes < raw_limit_bytes) {
    format.fields[std::string(name)] = {*offset_bytes, *size_bytes};
  }
}

}  // namespace

Field TracepointFormat::field(std::string_view name) const {
  const auto found = fields.find(name);
  return found == fields.end() ? Field{} : found->second;
}

std::optional<TracepointFormat> parse_tracepoint_format(std::string_view text) {
  TracepointFormat format;
  bool has_id = false;
  for (const std::string_view raw_line : base::split(text, '\n')) {
    const std::string_view line = without_blanks(raw_line);
    if (line.starts_with("ID:")) {
      const std::optional<std::uint64_t> id = base::parse_number<std::uint64_t>(without_blanks(line.substr(3)));
      has_id = id.has_value();
      format.id = id.value_or(0);
    } else if (line.starts_with("field:")) {
      add_field(format, line);
    }
  }
  return has_id ? std::optional(std::move(format)) : std::nullopt;
}

}  // namespace stallscope::trace::perf
