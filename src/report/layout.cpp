// SPDX-License-Identifier: Apache-2.0
#include "report/layout.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "base/text.h"

namespace stallscope::report {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};
// From EastAsianWidth.txt (W and F) and DerivedGeneralCategory.txt (Mn, Me, Cf) of Unicode, joined where the gaps hold nothing
// printable.
constexpr std::array<Range, 18> wide_ranges = {{{0x1100, 0x115f},
                                                {0x231a, 0x231b},
                                                {0x2329, 0x232a},
                                                {0x23e9, 0x23ec},
                                                {0x2614, 0x2615},
                                                {0x2e80, 0x303e},
                                                {0x3041, 0x33ff},
                                                {0x3400, 0x4dbf},
                                                {0x4e00, 0xa4cf},
                                                {0xa960, 0xa97c},
                                                {0xac00, 0xd7a3},
                                                {0xf900, 0xfaff},
                                                {0xfe30, 0xfe6f},
                                                {0xff00, 0xff60},
                                                {0xffe0, 0xffe6},
                                                {0x1f300, 0x1f64f},
                                                {0x1f680, 0x1faff},
                                                {0x20000, 0x3fffd}}};
constexpr std::array<Range, 9> zero_ranges = {{{0x0300, 0x036f},
                                               {0x0483, 0x0489},
                                               {0x0591, 0x05bd},
                                               {0x1ab0, 0x1aff},
                                               {0x1dc0, 0x1dff},
                                               {0x200b, 0x200d},
                                               {0x20d0, 0x20ff},
                                               {0xfe00, 0xfe0f},
                                               {0xfe20, 0xfe2f}}};

template <std::size_t Count>
bool contains(const std::array<Range, Count>& ranges, char32_t code) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const Range& range) { return code >= range.first && code <= range.last; });
}

/// A character of UTF-8 text that is known to be valid.
struct Character {
  std::size_t bytes = 1;
  std::size_t columns = 1;
};

Character character_at(std::string_view text, std::size_t position) {
  const auto byte = [&](std::size_t i) -> std::uint32_t { return static_cast<unsigned char>(text[position + i]); };
  const std::uint32_t lead = byte(0);
  const std::size_t bytes = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (bytes == 1 || position + bytes > text.size()) {
    return {};
  }
  char32_t code = lead & (0xffU >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    code = (code << 6U) | (byte(i) & 0x3fU);
  }
  const std::size_t columns = contains(zero_ranges, code) ? 0 : contains(wide_ranges, code) ? 2 : 1;
  return {bytes, columns};
}

}  // namespace

std::size_t display_width(std::string_view text) {
  std::size_t columns = 0;
  for (std::size_t position = 0; position < text.size();) {
    const Character character = character_at(text, position);
    columns += character.columns;
    position += character.bytes;
  }
  return columns;
}

std::string fit(std::string_view text, std::size_t width) {
  constexpr std::string_view gap = "...";
  const std::size_t total = display_width(text);
  if (total <= width) {
    return std::string(text);
  }
  const std::size_t kept = width > gap.size() ? width - gap.size() : 0;
  const std::size_t head_columns = kept / 3;
  const std::size_t tail_columns = kept - head_columns;
  std::size_t head_end = 0;
  std::size_t tail_start = text.size();
  std::size_t columns = 0;
  for (std::size_t position = 0; position < text.size();) {
    const Character character = character_at(text, position);
    if (columns + character.columns <= head_columns) {
      head_end = position + character.bytes;
    }
    if (total - columns <= tail_columns) {
      tail_start = position;
      break;
    }
    columns += character.columns;
    position += character.bytes;
  }
  return std::string(text.substr(0, head_end)) + std::string(gap.substr(0, width)) + std::string(text.substr(tail_start));
}

std::vector<std::string> fill(const std::vector<std::string>& words, std::size_t width) {
  std::vector<std::string> lines;
  std::size_t columns = 0;
  for (const std::string& raw : words) {
    const std::string word = fit(raw, width);
    const std::size_t word_columns = display_width(word);
    if (lines.empty() || columns + 1 + word_columns > width) {
      lines.push_back(word);
      columns = word_columns;
    } else {
      lines.back() += " " + word;
      columns += 1 + word_columns;
    }
  }
  return lines;
}

std::vector<std::string> fill(std::string_view text, std::size_t width) {
  // A number stays with what it counts: "98.7" at the end of one line and "ms" on the next is hard to read.
  constexpr std::size_t longest_unit = 12;
  std::vector<std::string> words;
  for (const std::string_view word : base::split_fields(text)) {
    const bool after_number = !words.empty() && words.back().back() >= '0' && words.back().back() <= '9' &&
                              words.back().size() <= longest_unit && word.size() <= longest_unit;
    if (after_number) {
      words.back() += " " + std::string(word);
    } else {
      words.emplace_back(word);
    }
  }
  return fill(words, width);
}

void Page::line(std::string_view text, Emphasis emphasis) {
  const bool styled = colour_ && emphasis == Emphasis::bold;
  text_ += styled ? "\x1b[1m" : "";
  text_ += text;
  text_ += styled ? "\x1b[0m\n" : "\n";
}

void Page::labelled(std::string_view label, std::size_t label_indent, std::size_t indent, const std::vector<std::string>& lines,
                    Emphasis emphasis) {
  std::string start = std::string(label_indent, ' ') + std::string(label);
  for (const std::string& text : lines) {
    start.resize(std::max(indent, start.size()), ' ');
    line(start + text, emphasis);
    start.clear();
    emphasis = Emphasis::none;
  }
}

}  // namespace stallscope::report
