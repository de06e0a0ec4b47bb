// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

namespace stallscope::cli {

/// Adds `zombies` to the command `lab`.
void add_lab_zombies(CLI::App& lab, int& exit_status);

}  // namespace stallscope::cli
