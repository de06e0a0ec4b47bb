// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

namespace stallscope::cli {

/// The man page, in roff, of the whole tool (`command` is `app`) or of one subcommand, made from the same tables that parse the
/// command line. A heading in capitals in a command's footer ("EXAMPLES") becomes a section.
[[nodiscard]] std::string man_page(const CLI::App& app, const CLI::App& command);

/// Text as roff prints it literally: no request, escape or typographic substitution is left in it.
[[nodiscard]] std::string escape_roff(std::string_view text);

/// Adds the hidden subcommand `man`, with which the build writes the pages.
void add_man_command(CLI::App& app, int& exit_status);

}  // namespace stallscope::cli
