// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include <CLI/CLI.hpp>

#include "cli/ssh_connection.h"

namespace stallscope::cli {

/// --node-program, --node-copy and --node-sudo. `access` has to outlive the parsing.
std::array<CLI::Option*, 3> add_node_options(CLI::App& command, NodeAccess& access);

}  // namespace stallscope::cli
