// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace stallscope::report {

/// Columns a terminal gives to valid UTF-8 without control characters: two for East Asian wide characters and emoji, none for
/// combining marks.
[[nodiscard]] std::size_t display_width(std::string_view text);

/// At most `width` columns: the middle gives way to "...", more of the end stays than of the start (in paths the end tells most).
[[nodiscard]] std::string fit(std::string_view text, std::size_t width);

/// Fills lines of at most `width` columns with words; a word that is wider is made to fit.
[[nodiscard]] std::vector<std::string> fill(const std::vector<std::string>& words, std::size_t width);
/// The same with the words of a text; a number is not parted from the word after it.
[[nodiscard]] std::vector<std::string> fill(std::string_view text, std::size_t width);

enum class Emphasis { none, bold };

/// Lines of a report.
class Page {
 public:
  Page(std::size_t width, bool colour) : width_(width), colour_(colour) {}

  [[nodiscard]] std::size_t width() const { return width_; }
  /// Columns left beside an indentation.
  [[nodiscard]] std::size_t room(std::size_t indent) const { return width_ > indent ? width_ - indent : 1; }
  void blank() { text_ += '\n'; }
  void line(std::string_view text, Emphasis emphasis = Emphasis::none);
  /// `label` at column `label_indent`, the lines beside it at column `indent`.
  void labelled(std::string_view label, std::size_t label_indent, std::size_t indent, const std::vector<std::string>& lines,
                Emphasis emphasis = Emphasis::none);
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::size_t width_;
  bool colour_;
  std::string text_;
};

}  // namespace stallscope::report
