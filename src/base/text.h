// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace stallscope::base {

/// The text with control characters, escape sequences and invalid UTF-8 replaced by \xNN, so that a name chosen by a container
/// or a packet can be shown on a terminal. Everything that came from the kernel or the network passes through here once, when
/// it is rendered.
[[nodiscard]] std::string printable(std::string_view text);

/// Shortens to at most `width` columns by replacing the middle with "...". Keeps the start and, above all, the end: in paths the
/// end tells most.
[[nodiscard]] std::string shorten(std::string_view text, std::size_t width);

/// Breaks at spaces so that no line is longer than `width`, later lines indented by `indent` columns. A word longer than the
/// width stands on a line of its own.
[[nodiscard]] std::string wrap(std::string_view text, std::size_t width, std::size_t indent);

[[nodiscard]] std::vector<std::string_view> split(std::string_view text, char separator);
/// Split at runs of spaces and tabs; no empty fields.
[[nodiscard]] std::vector<std::string_view> split_fields(std::string_view text);

}  // namespace stallscope::base
