// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"

namespace stallscope::cli {

/// What may be written to a file descriptor.
struct Terminal {
  /// Whether a person watches: only then progress is shown.
  bool interactive = false;
  /// Interactive, and neither NO_COLOR nor TERM=dumb ask for plain text (https://no-color.org).
  bool colour = false;
  /// Columns; 80 where it is not a terminal or does not say.
  std::size_t width = 80;
  /// Whether LC_ALL, LC_CTYPE or LANG, the first that is set, name UTF-8.
  bool utf8 = false;
};

[[nodiscard]] Terminal describe_terminal(int fd);

/// `label`, padded to `indent` columns, and `text` beside it, broken so that no line is wider than `width`. A label that does not
/// fit stands on a line of its own.
[[nodiscard]] std::string entry(std::string_view label, std::string_view text, std::size_t indent, std::size_t width);

/// Writes to standard output, buffered. A failure is kept and told by finish_output().
void print_out(std::string_view text);
/// Flushes standard output. A reader that went away (`stallscope report | head`) is no error; a full disk is.
[[nodiscard]] base::Status finish_output();

/// "stallscope: MESSAGE" to standard error, on one line, or two with a hint.
void print_error(const base::Error& error);

}  // namespace stallscope::cli
