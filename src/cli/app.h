// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace stallscope::cli {

/// Adds one subcommand; see commands.h.
using AddCommand = void (*)(CLI::App& app, int& exit_status);

/// The version of this build, as bundles record it.
[[nodiscard]] std::string_view version();

/// The subcommands of stallscope, in the order the help lists them.
[[nodiscard]] std::span<const AddCommand> all_commands();

/// The whole command line: `commands` and the hidden `man`. Subcommands write to `exit_status`, which must outlive the app.
[[nodiscard]] std::unique_ptr<CLI::App> make_app(std::span<const AddCommand> commands, int& exit_status);

/// The subcommands that are not hidden, by name or with all they hold.
[[nodiscard]] std::vector<const CLI::App*> visible_commands(const CLI::App& app);

/// Parses, runs, and returns the exit status of the process. A command line that cannot be understood is exit_error, with what is
/// wrong and the next step on standard error.
[[nodiscard]] int run(int argc, const char* const* argv);

}  // namespace stallscope::cli
