// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <fmt/format.h>

#include <cstdint>

namespace stallscope::base {
namespace {

/// Length of the valid, printable UTF-8 sequence at the start of `text`, or 0. Rejects overlong forms, surrogates, C1 controls and
/// the bidirectional overrides that could reorder a line of the report.
std::size_t printable_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) {
    return lead >= 0x20 && lead != 0x7f ? 1 : 0;
  }
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) {
    return 0;
  }
  std::uint32_t code = lead & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) {
      return 0;
    }
    code = (code << 6U) | (byte(i) & 0x3fU);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  const bool c1_control = code < 0xa0;
  const bool bidirectional =
      (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) || code == 0x200e || code == 0x200f;
  const bool line_separator = code == 0x2028 || code == 0x2029;
  if (overlong || surrogate || c1_control || bidirectional || line_separator || code > 0x10ffff) {
    return 0;
  }
  return length;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = printable_length(text);
    if (length > 0) {
      out += text.substr(0, length);
      text.remove_prefix(length);
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text.front()));
      text.remove_prefix(1);
    }
  }
  return out;
}

std::string shorten(std::string_view text, std::size_t width) {
  constexpr std::string_view gap = "...";
  if (text.size() <= width) {
    return std::string(text);
  }
  if (width <= gap.size()) {
    return std::string(text.substr(0, width));
  }
  const std::size_t kept = width - gap.size();
  const std::size_t head = kept / 3;
  const auto continuation = [&](std::size_t i) {
    return i < text.size() && (static_cast<unsigned char>(text[i]) & 0xc0U) == 0x80U;
  };
  std::size_t head_end = head;
  while (head_end > 0 && continuation(head_end)) {
    --head_end;
  }
  std::size_t tail_start = text.size() - (kept - head);
  while (continuation(tail_start)) {
    ++tail_start;
  }
  return std::string(text.substr(0, head_end)) + std::string(gap) + std::string(text.substr(tail_start));
}

std::string wrap(std::string_view text, std::size_t width, std::size_t indent) {
  std::string out;
  std::size_t column = 0;
  for (const std::string_view word : split_fields(text)) {
    if (column > 0 && column + 1 + word.size() > width) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > 0) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  std::size_t start = 0;
  while (true) {
    const std::size_t end = text.find(separator, start);
    parts.push_back(text.substr(start, end == std::string_view::npos ? end : end - start));
    if (end == std::string_view::npos) {
      return parts;
    }
    start = end + 1;
  }
}

std::vector<std::string_view> split_fields(std::string_view text) {
  std::vector<std::string_view> fields;
  std::size_t position = 0;
  while (true) {
    position = text.find_first_not_of(" \t\n", position);
    if (position == std::string_view::npos) {
      return fields;
    }
    std::size_t end = text.find_first_of(" \t\n", position);
    end = end == std::string_view::npos ? text.size() : end;
    fields.push_back(text.substr(position, end - position));
    position = end;
  }
}

}  // namespace stallscope::base
