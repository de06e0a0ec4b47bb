// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

namespace stallscope::cli {

/// Adds `discover` to the command `bisect`.
void add_bisect_discover_command(CLI::App& bisect, int& exit_status);

}  // namespace stallscope::cli
